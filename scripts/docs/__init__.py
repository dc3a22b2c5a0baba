"""Build parts of the documentation: tables, pictures, the notebook, the paper's figures."""
