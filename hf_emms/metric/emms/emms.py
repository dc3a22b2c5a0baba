"""The EMMS metric of the installed hf_emms, for `evaluate.load`."""

# Indented, so that evaluate's scan for imports does not suggest a package of this name, which is not ours.
try:
    from hf_emms.metric.module import Emms
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("hf_emms"):
        raise
    raise ImportError(
        'the metric "emms" needs the package hf-emms, or a newer one: '
        "pip install ./hf-emms  # a clone of its repository; on no package index yet"
    ) from None

__all__ = ["Emms"]
