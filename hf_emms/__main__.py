"""``python -m hf_emms`` is the command ``hf-emms``."""

from hf_emms.cli import main

if __name__ == "__main__":
    main()
