"""Fine-tune the first checkpoints of a ranking, and measure their scores on test rows."""
