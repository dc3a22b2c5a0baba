"""Puts the metric where ``evaluate.load("emms")`` looks for it, the modules cache of evaluate, or on the Hub.

What is put there holds no code but an import of the installed hf_emms. So environments with different versions of
hf_emms can share one cache, and an upgrade needs no new file. Everything here is imported by ``import hf_emms``: it
must be quick, and it knows evaluate's folders without importing evaluate.
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
# evaluate takes any folder with a name of 64 digits; this is MODULE's sha256, written out because importing hashlib
# takes longer than all the rest.
_DIGEST = "6fc147a2314c37bc84ba8a588ba203f55ef7ad58eb85a67f574a4a0eb7fade4d"
_UNWANTED = ".uninstalled"


def source_folder() -> Path:
    """Return the folder of the metric as it is published, which ``evaluate.load`` takes."""
    return Path(__file__).parents[1] / "metric" / "emms"


def modules_cache() -> Path:
    """Return the folder where evaluate keeps modules, by the same environment variables in the same order.

    Refused is a relative path, which evaluate would make wherever it is run.
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
    """Return whether the module is there, whole and as this version would write it."""
    try:
        return installed_module().read_bytes() == MODULE.encode()
    except OSError:
        return False


def install() -> Path:
    """Write the module to the cache, or repair it, and return its path; many processes may do so at once."""
    module = installed_module()
    try:
        (_package() / _UNWANTED).unlink(missing_ok=True)
        if not is_installed():
            _write(module)
    except OSError as error:
        raise EmmsError(
            f"cannot put the metric into {module.parent}: {error.strerror or error}",
            'set HF_MODULES_CACHE to a folder that can be written; evaluate.load("emms") cannot work without one',
        ) from error
    return module


def uninstall() -> tuple[Path, ...]:
    """Delete every version of the module and return their folders; ``import hf_emms`` writes it no more."""
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
    """Write the module at ``import hf_emms``, for ``evaluate.load("emms")``; log a line where it cannot be."""
    if os.environ.get(OPT_OUT, "1").lower() in ("0", "false", "no", "off"):
        return
    try:
        if not is_installed() and not (_package() / _UNWANTED).exists():
            install()
    except (OSError, ValueError) as error:
        import logging

        hint = f"{OPT_OUT}=0 silences this"
        logging.getLogger(__name__).warning('evaluate.load("emms") will not find the metric: %s; %s', error, hint)


def _package() -> Path:
    return modules_cache() / "evaluate_modules" / "metrics" / "evaluate-metric--emms"


def _write(module: Path) -> None:
    """Write the module so that its folder appears whole: evaluate fails on a folder without a module."""
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
        except OSError:  # it exists: another process was faster, or it is damaged
            (partial / "emms.py").replace(module)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


# What the requirements and the card say of hf-emms; a published Space says where its wheel is.
_PINNED = "hf-emms==0.1.0"
_BRINGS = "The package hf-emms brings it."


def publish_metric(repo_id: str, *, hardware: str | None, private: bool, package: str | None) -> str:
    """Publish the metric as a Gradio Space and return the address of the commit; an existing Space is updated.

    Args:
        repo_id: "USER/emms": ``evaluate.load`` asks a Space for the file that has the Space's name.
        hardware: see `hub.publish_space`.
        private: of a Space that is made anew.
        package: what the Space installs as hf-emms; by default this version, whose wheel is uploaded beside.
    """
    owner, _, name = repo_id.partition("/")
    if name != "emms":
        raise EmmsError(
            f"{repo_id!r} cannot hold the metric: evaluate.load looks for emms.py in a Space called emms",
            setting_ref("repo_id", f"{owner if name else 'USER'}/emms"),
        )
    if private and package is None:
        raise EmmsError(
            "while a private Space is built, it cannot download the wheel that it holds",
            "name another place of hf-emms, such as the address of a wheel; or leave "
            + setting_ref("private")
            + " out",
        )
    import shutil
    import tempfile

    from hf_emms import hub
    from hf_emms.publish import wheel

    account = hub.require_space(repo_id)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "space"
        shutil.copytree(source_folder(), folder, ignore=shutil.ignore_patterns("__pycache__", "__init__.py"))
        if package is None:
            (folder / wheel.NAME).write_bytes(wheel.build())
            package = wheel.requirement(hub.repo_url(repo_id, "space"))
        requirements, card = folder / "requirements.txt", folder / "README.md"
        requirements.write_text(requirements.read_text().replace(_PINNED, package))
        card.write_text(card.read_text().replace(_BRINGS, f'`pip install "{package}"` brings it.'))
        message = "EMMS: the metric, its card and its page"
        return hub.publish_space(account, repo_id, folder, message=message, hardware=hardware, private=private)
