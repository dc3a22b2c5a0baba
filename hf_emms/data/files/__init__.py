"""Open a split of a dataset from the Hub, a folder, a file or memory."""
