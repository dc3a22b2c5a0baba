"""The embedded demo: small real datasets, checkpoints and label encoders that ship with the package.

They have ids like Hub repositories (`emms-demo/resnet-distilled`) and are read from this folder, by `hub.resolve`.
scripts/demo/ makes them; NOTICE lists their sources.
"""

from hf_emms.hub.repos import DEMO_PREFIX
from hf_emms.hub.repos import embedded_folder as folder_of
from hf_emms.hub.repos import embedded_ids as names

__all__ = ["DEMO_PREFIX", "folder_of", "names"]
