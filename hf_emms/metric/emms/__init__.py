"""The folder that is published as a metric Space; all but this file."""
