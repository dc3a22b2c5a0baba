"""Build a wheel of this installation, for jobs and readers of cards, because no package index has hf-emms yet."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from functools import cache
from importlib import metadata, resources
from pathlib import Path

from hf_emms import __version__, hub
from hf_emms.errors import EmmsError
from hf_emms.texts import install_command, repository

NAME = f"hf_emms-{__version__}-py3-none-any.whl"

_DIST = f"hf_emms-{__version__}.dist-info"
# Folders next to the package in a checkout, which the wheel contains.
_BESIDE = ("templates", "spaces_app")
_LEFT_OUT = ("__pycache__", ".pytest_cache")


@cache
def build() -> bytes:
    """Return a wheel with the files of the package and the metadata of its installation."""
    package = Path(str(resources.files("hf_emms")))
    files = {f"hf_emms/{name}": content for name, content in _files(package).items()}
    checkout = package.parent
    for folder in _BESIDE:
        if (checkout / folder).is_dir() and not (checkout / "hf_emms" / folder).exists():
            files |= {f"hf_emms/{folder}/{name}": content for name, content in _files(checkout / folder).items()}
    files |= {f"{_DIST}/{name}": text.encode() for name, text in _metadata().items()}
    record = "".join(f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items())
    files[f"{_DIST}/RECORD"] = f"{record}{_DIST}/RECORD,,\n".encode()
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            # A constant time: the same files make the same wheel.
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return sink.getvalue()


def requirement(page: str) -> str:
    """Return the requirement of a wheel in a public Hub repository, for pip and uv."""
    return f"hf-emms @ {page}/resolve/main/{NAME}"


def project_url(results: str | None) -> str:
    """Return the page of hf-emms: its repository, or else a results dataset, which has a wheel; empty without both."""
    return repository() or (hub.repo_url(results, "dataset") if results else "")


def install_from_hub(results: str | None) -> str:
    """Return the command by which a reader on the Hub installs hf-emms; empty if `project_url` is."""
    if repository():
        return install_command()
    return f'pip install "{requirement(project_url(results))}"' if results else ""


def require_wheel(results: str) -> None:
    """Raise an EmmsError if readers cannot install this version from a results dataset."""
    if not repository() and hub.read_file(results, "dataset", NAME) is None:
        raise EmmsError(
            "no-wheel",
            f"the dataset {results!r} does not contain {NAME}",
            f"hf-emms publish results --repo-id {results} adds it",
        )


def _metadata() -> dict[str, str]:
    try:
        installed = metadata.distribution("hf-emms")
    except metadata.PackageNotFoundError:
        raise EmmsError(
            "broken-installation", "cannot build a wheel, because hf-emms is not installed", install_command()
        ) from None
    texts = {name: installed.read_text(name) for name in ("METADATA", "entry_points.txt")}
    wheel = "Wheel-Version: 1.0\nGenerator: hf-emms\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    return {name: text for name, text in texts.items() if text} | {"WHEEL": wheel}


def _files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not {*path.parts} & {*_LEFT_OUT})
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
