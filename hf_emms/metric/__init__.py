"""The metric for the evaluate library."""
