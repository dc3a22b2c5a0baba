"""Install the metric in evaluate's cache of modules, where ``evaluate.load("emms")`` finds it.

The installed module only imports hf_emms. So environments with different versions of hf_emms can share one cache,
and an upgrade needs no new file. ``import hf_emms`` imports this module, so it must be fast and not import evaluate.
"""

from __future__ import annotations

import os
from pathlib import Path

from hf_emms.errors import EmmsError

OPT_OUT = "HF_EMMS_INSTALL_METRIC"

MODULE = (Path(__file__).parents[1] / "metric" / "emms" / "emms.py").read_bytes()
# evaluate accepts any folder with a name of 64 hex digits. This is the SHA-256 of MODULE as a literal, because
# importing hashlib is slow.
_DIGEST = "95c25db2e290e8b0b2900727a8fabab2d155f8c75ead43a1e3018b9fd521c817"


def modules_cache() -> Path:
    """Return evaluate's cache of modules, from the same environment variables as evaluate."""
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.path.expanduser(os.environ.get("HF_HOME", f"{caches}/huggingface"))  # noqa: PTH111 (as evaluate does)
    return Path(os.environ.get("HF_MODULES_CACHE", Path(home) / "modules"))


def installed_module() -> Path:
    return _package() / _DIGEST / "emms.py"


def is_installed() -> bool:
    """Return whether the module exists with the content of this version."""
    try:
        return installed_module().read_bytes() == MODULE
    except OSError:
        return False


def install() -> Path:
    """Write the module to the cache, and return its path. Several processes may do so at once."""
    module = installed_module()
    try:
        if not is_installed():
            _write(module)
    except OSError as error:
        raise EmmsError(
            "cannot-write",
            f"cannot install the metric in {module.parent}: {error.strerror or error}",
            'set HF_MODULES_CACHE to a writable folder, which evaluate.load("emms") requires',
        ) from error
    return module


def install_on_import() -> None:
    """Install the metric on ``import hf_emms``, or log a warning if that fails."""
    if os.environ.get(OPT_OUT) == "0" or not modules_cache().is_absolute():  # no folder in the current one
        return
    try:
        if not is_installed():
            install()
    except (OSError, ValueError) as error:
        import logging

        hint = f"{OPT_OUT}=0 disables this"
        logging.getLogger(__name__).warning('evaluate.load("emms") will not find the metric: %s; %s', error, hint)


def _package() -> Path:
    return modules_cache() / "evaluate_modules" / "metrics" / "evaluate-metric--emms"


def _write(module: Path) -> None:
    """Write the module and its folder atomically, because evaluate fails on a folder without a module."""
    import shutil

    folder, package = module.parent, module.parent.parent
    package.mkdir(parents=True, exist_ok=True)
    for level in (package, *package.parents[:3]):
        (level / "__init__.py").touch()
    partial = package / f".{os.getpid()}-{os.urandom(4).hex()}"
    partial.mkdir()
    try:
        (partial / "__init__.py").touch()
        (partial / "emms.py").write_bytes(MODULE)
        try:
            partial.rename(folder)
        except OSError:  # it exists, because another process was faster, or is damaged
            (partial / "emms.py").replace(module)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
