"""Errors of ``datasets`` in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hf_emms.errors import EmmsError
from hf_emms.hub import Repo, limited_streaming, page, translate_hub_errors

SCRIPT_HINT = "loading scripts no longer run; try @refs/convert/parquet behind the id"


class NoReadableFileError(EmmsError):
    """The repository holds nothing that ``datasets`` reads: a loading script, or no data at all."""


@contextmanager
def reading(dataset: str, repo: Repo, config: str | None) -> Iterator[None]:
    """Turns what ``datasets`` and the Hub raise into one line that says what to do.

    Args:
        dataset: as the user typed it.
        repo: where it is.
        config: the configuration that was asked for.
    """
    import datasets
    from datasets.data_files import EmptyDatasetError

    try:
        with limited_streaming(), translate_hub_errors(repo.id, repo.kind, repo.revision):
            yield
    except EmmsError:
        raise
    except (EmptyDatasetError, datasets.exceptions.DataFilesNotFoundError) as error:
        raise NoReadableFileError(
            f"{dataset!r} holds no data file that can be read",
            "put pictures in one folder per class, or parquet, json, jsonl, csv or tsv files; "
            "for a dataset with a loading script try @refs/convert/parquet behind its id",
        ) from error
    except (datasets.exceptions.DatasetsError, OSError, RuntimeError) as error:
        root = error.__cause__ or error
        kind = NoReadableFileError if "script" in str(error) else EmmsError
        raise kind(f"{dataset!r} cannot be read: {_first_line(root)}", _hint(dataset, error)) from error
    except ValueError as error:
        if "config" in str(error).lower():
            asked = f"has no configuration {config!r}" if config else "has several configurations"
            raise EmmsError(f"{dataset!r} {asked}: {' '.join(str(error).split())}", "--config NAME") from error
        raise EmmsError(f"{dataset!r} cannot be read: {_first_line(error)}", _hint(dataset, error)) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _hint(dataset: str, error: BaseException) -> str:
    if "gated" in str(error):
        return f"accept its terms at {page(dataset.partition('@')[0], 'dataset')}, then log in: hf auth login"
    if "script" in str(error):
        return SCRIPT_HINT
    if isinstance(error, ConnectionError):
        return "check the network (or HF_ENDPOINT), or pass a folder: ./FOLDER"
    return "check that its files are whole and of one layout, or pass --config or another --split"
