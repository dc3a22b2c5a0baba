"""The metric for the evaluate library: how it gets there, what it takes, how it behaves."""
