"""What makes the demo, measures quality and speed, and builds the documentation; see README.md."""
