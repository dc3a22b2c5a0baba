"""What tests share: inputs, tiny checkpoints, running commands, servers and a browser."""
