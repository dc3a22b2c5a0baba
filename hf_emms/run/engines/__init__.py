"""Where checkpoints run: in this process, in rounds that eliminate the weak ones, or on a Ray cluster."""
