"""The README, docs/ and CONTRIBUTING.md say what is true: links, paths, commands, figures, the notebook."""
