"""Check the README, docs/ and CONTRIBUTING.md: links, paths, commands, figures, the notebook."""
