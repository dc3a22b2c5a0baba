"""Install the metric in evaluate's cache of modules, where ``evaluate.load("emms")`` finds it, or publish it.

The installed module only imports hf_emms. So environments with different versions of hf_emms can share one cache,
and an upgrade needs no new file. ``import hf_emms`` imports this module, so it must be fast and not import evaluate.
"""

from __future__ import annotations

import os
from pathlib import Path

from hf_emms.errors import EmmsError, setting_ref

OPT_OUT = "HF_EMMS_INSTALL_METRIC"

MODULE = '''"""The EMMS metric of the installed hf_emms. `hf-emms metric uninstall` removes this file."""

try:
    from hf_emms.metric.emms.emms import Emms
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("hf_emms"):
        raise
    raise ImportError('the metric "emms" needs the package hf-emms, or a newer one') from None

__all__ = ["Emms"]
'''
# evaluate accepts any folder with a name of 64 hex digits. This is the SHA-256 of MODULE as a literal, because
# importing hashlib is slow.
_DIGEST = "6fc147a2314c37bc84ba8a588ba203f55ef7ad58eb85a67f574a4a0eb7fade4d"
_UNWANTED = ".uninstalled"


def source_folder() -> Path:
    """Return the folder of the metric, which ``evaluate.load`` accepts."""
    return Path(__file__).parents[1] / "metric" / "emms"


def modules_cache() -> Path:
    """Return evaluate's cache of modules, from the same environment variables as evaluate.

    Raises:
        EmmsError: The path is relative; evaluate would create it in the current folder.
    """
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.path.expanduser(os.environ.get("HF_HOME", f"{caches}/huggingface"))  # noqa: PTH111 (as evaluate does)
    folder = Path(os.environ.get("HF_MODULES_CACHE", Path(home) / "modules"))
    if not folder.is_absolute():
        name = "HF_MODULES_CACHE" if "HF_MODULES_CACHE" in os.environ else "HF_HOME"
        raise EmmsError(
            f"the modules cache of evaluate is {str(folder)!r}, which is not an absolute path",
            f"set {name} to an absolute path ('~' is not expanded there), or unset it",
        )
    return folder


def installed_module() -> Path:
    return _package() / _DIGEST / "emms.py"


def is_installed() -> bool:
    """Return whether the module exists with the content of this version."""
    try:
        return installed_module().read_bytes() == MODULE.encode()
    except OSError:
        return False


def install() -> Path:
    """Write the module to the cache, and return its path. Several processes may do so at once."""
    module = installed_module()
    try:
        (_package() / _UNWANTED).unlink(missing_ok=True)
        if not is_installed():
            _write(module)
    except OSError as error:
        raise EmmsError(
            f"cannot install the metric in {module.parent}: {error.strerror or error}",
            'set HF_MODULES_CACHE to a writable folder, which evaluate.load("emms") requires',
        ) from error
    return module


def uninstall() -> tuple[Path, ...]:
    """Delete the module, and return its folders. ``import hf_emms`` does not install it again."""
    import shutil

    package = _package()
    try:
        gone = tuple(sorted(path for path in package.iterdir() if path.is_dir())) if package.is_dir() else ()
        for folder in gone:
            shutil.rmtree(folder)
        package.mkdir(parents=True, exist_ok=True)
        (package / _UNWANTED).touch()
    except OSError as error:
        raise EmmsError(f"cannot remove the metric from {package}: {error.strerror or error}") from error
    return tuple(folder for folder in gone if len(folder.name) == len(_DIGEST))


def install_on_import() -> None:
    """Install the metric on ``import hf_emms``, or log a warning if that fails."""
    if os.environ.get(OPT_OUT, "1").lower() in ("0", "false", "no", "off"):
        return
    try:
        if not is_installed() and not (_package() / _UNWANTED).exists():
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
        (partial / "emms.py").write_text(MODULE, encoding="utf-8")
        try:
            partial.rename(folder)
        except OSError:  # it exists, because another process was faster, or is damaged
            (partial / "emms.py").replace(module)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


# Texts in the requirements and the card, which a published Space replaces with the URL of its wheel.
_PINNED = "hf-emms==0.1.0"
_BRINGS = "The package hf-emms brings it."


def publish_metric(repo_id: str, *, private: bool) -> str:
    """Create or update a static Space with the metric and a wheel of this version, and return the URL of the commit.

    Args:
        repo_id: "USER/emms", because ``evaluate.load`` requests the file with the name of the Space.
        private: Whether a new Space is private.
    """
    owner, _, name = repo_id.partition("/")
    if name != "emms":
        raise EmmsError(
            f"{repo_id!r} is not a valid name: evaluate.load requires a Space called emms",
            setting_ref("repo_id", f"{owner if name else 'USER'}/emms"),
        )
    import shutil
    import tempfile

    from hf_emms import hub
    from hf_emms.publish import wheel

    account = hub.require_space(repo_id)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "space"
        shutil.copytree(source_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", "__init__.py"))
        (folder / wheel.NAME).write_bytes(wheel.build())
        package = wheel.requirement(hub.repo_url(repo_id, "space"))
        requirements, card = folder / "requirements.txt", folder / "README.md"
        requirements.write_text(requirements.read_text().replace(_PINNED, package))
        card.write_text(card.read_text().replace(_BRINGS, f'`pip install "{package}"` brings it.'))
        message = "EMMS: the metric and its card"
        return hub.publish_space(
            account, repo_id, folder, message=message, sdk="static", hardware=None, private=private
        )
