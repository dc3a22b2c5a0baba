"""Makes the embedded demo: datasets, checkpoints and label encoders."""
