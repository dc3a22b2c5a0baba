"""Rankings as files of a results dataset, published, merged and read back; and the card that lists them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from hf_emms import hub
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.publish import wheel
from hf_emms.publish.cards import rendered_template, splice
from hf_emms.publish.cards.front_matter import with_fields
from hf_emms.ranking.merge import JSON_FOLDER, merged, path_of
from hf_emms.ranking.records import Ranking, Row, is_commit
from hf_emms.ranking.text import with_spread

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET_FOLDER = "data"

_README = "README.md"
_TITLE_LENGTH = 120
_ESTIMATORS = ("emms_knn", "emms", "logme", "knn")
# Of the Parquet files' columns and the card's data; 1 had no fine-tuned columns.
LAYOUT_VERSION = 2


def parquet(ranking: Ranking, path: str) -> bytes:
    """A Parquet file of the rows, with the same columns and types for every ranking, so that all files are one table.

    Args:
        ranking: whose rows.
        path: see `path_of`; the column "ranking".
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([_record(ranking, path, row) for row in ranking.rows], _schema())
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _record(ranking: Ranking, path: str, row: Row) -> dict[str, Any]:
    """The columns of `_schema`, among others."""
    record = ranking.settings | msgspec.structs.asdict(ranking) | msgspec.structs.asdict(row)
    for name in _ESTIMATORS:
        score = row.scores.get(name)
        record[name] = score.value if score else None
        record[f"{name}_stderr"] = score.stderr if score else None
    emms = row.scores.get("emms")
    return record | {
        "n": row.n or ranking.n,
        "ranking": path,
        "encoders": ["@".join(filter(None, (encoder.id, encoder.revision))) for encoder in ranking.encoders],
        "emms_r2": emms.details.get("r2") if emms else None,
        "scores": [
            {"estimator": name, "value": score.value, "stderr": score.stderr} for name, score in row.scores.items()
        ],
        "seconds_features": row.seconds.features,
        "seconds_scoring": row.seconds.scoring,
        "fine_tuned": row.fine_tuned.value if row.fine_tuned else None,
        "fine_tuned_spread": row.fine_tuned.spread if row.fine_tuned else None,
        "fine_tuned_metric": row.fine_tuned.metric if row.fine_tuned else None,
    }


def _schema() -> pa.Schema:
    import pyarrow as pa

    text, whole, real = pa.string(), pa.int64(), pa.float64()
    score = pa.struct([("estimator", text), ("value", real), ("stderr", real)])
    return pa.schema(
        [
            ("task", text),
            ("dataset", text),
            ("config", text),
            ("split", text),
            ("rank", whole),
            ("tied", pa.bool_()),
            ("checkpoint", text),
            *((f"{name}{suffix}", real) for name in ("emms_knn", "emms") for suffix in ("", "_stderr")),
            ("emms_r2", real),
            *((f"{name}{suffix}", real) for name in ("logme", "knn") for suffix in ("", "_stderr")),
            ("fine_tuned", real),
            ("fine_tuned_spread", real),
            ("fine_tuned_metric", text),
            ("parameters", whole),
            ("width", whole),
            ("architecture", text),
            ("pooling", text),
            ("error", text),
            ("revision", text),
            ("dataset_id", text),
            ("dataset_revision", text),
            ("n", whole),
            ("n_inputs", whole),
            ("n_labels", whole),
            ("seed", whole),
            ("folds", whole),
            ("encoders", pa.list_(text)),
            ("scores", pa.list_(score)),
            ("seconds_features", real),
            ("seconds_scoring", real),
            ("created", text),
            ("ranking", text),
            ("schema_version", whole),
        ]
    )


def publish(
    rankings: Sequence[Ranking], repo_id: str, *, private: bool = False, proposed_by: hub.Account | None = None
) -> hub.Outcome:
    """Adds rankings to a results dataset in one commit or pull request; without one the dataset is created first.

    Rows are merged with those of the ranking at the same path. What others commit meanwhile is read again, so that
    nothing is lost; a result that is there already makes no commit.

    Args:
        rankings: to add.
        repo_id: "ORG/emms-results".
        private: of a new dataset.
        proposed_by: who opens a pull request instead of committing.

    Raises:
        EmmsError: no rights, no dataset to propose to, a file of a newer version, or the Hub cannot be reached.
    """
    subjects = sorted({f"{ranking.dataset_id}, {ranking.task}" for ranking in rankings})
    title = f"Add rankings: {'; '.join(subjects)}"[:_TITLE_LENGTH]

    def change(read: hub.FileReader) -> dict[str, bytes]:
        return _files(rankings, repo_id, read)

    def push() -> hub.Outcome:
        return hub.push(repo_id, "dataset", change, title=title, tries=hub.TRIES_AMONG_MANY)

    if proposed_by is not None:
        rows = sum(len(ranking.rows) for ranking in rankings)
        text = f"{pluralize(rows, 'checkpoint')}, merged with what is published. Made with `hf-emms publish results`."
        return hub.propose(repo_id, "dataset", change, account=proposed_by, title=title, description=text, again=True)
    try:
        return push()
    except hub.RepoNotFoundError:
        hub.create_dataset(repo_id, private=private)
        return push()


def publish_wheel(repo_id: str) -> None:
    """Puts this version of hf-emms into a results dataset, for jobs; the dataset is made where there is none.

    Raises:
        EmmsError: the dataset is private, no rights, or the Hub cannot be reached.
    """

    def push() -> hub.Outcome:
        return hub.push(repo_id, "dataset", lambda read: {wheel.NAME: content}, title="Add hf-emms for jobs")

    content = wheel.build()
    try:
        push()
    except hub.RepoNotFoundError:
        hub.create_dataset(repo_id)
        push()
    if hub.is_private(repo_id, "dataset"):
        raise EmmsError(
            f"the dataset {repo_id!r} is private: a job cannot install hf-emms from it",
            "--jobs-package SPEC names another place, such as git+https://… or a wheel's address",
        )


def pull(place: str) -> tuple[dict[str, Ranking], list[str]]:
    """Reads the rankings of a results dataset, or those in a folder.

    Args:
        place: "ORG/emms-results[@REVISION]", or a folder with ranking files in JSON, at any depth.

    Returns:
        Rankings by their path (see `path_of`), and in words which files could not be read.

    Raises:
        EmmsError: no such dataset, it has no rankings, or the Hub cannot be reached.
    """
    return rankings_of(hub.resolve(place, "dataset"))


def rankings_of(repo: hub.Repo) -> tuple[dict[str, Ranking], list[str]]:
    """What `pull` returns, of a dataset or folder that `hub.resolve` has found."""
    folder = hub.fetch(repo, [f"{JSON_FOLDER}/*.json"])
    if repo.folder is None:
        folder /= JSON_FOLDER
    rankings: dict[str, Ranking] = {}
    problems = []
    for file in sorted(folder.rglob("*.json")):
        path = file.relative_to(folder).with_suffix("").as_posix()
        try:
            rankings[path] = Ranking.from_json(file.read_bytes())
        except EmmsError as error:
            problems.append(f"{path}: {error.message}")
        except OSError as error:
            problems.append(f"{path}: {error.strerror or error}")
    return rankings, problems


def _files(rankings: Sequence[Ranking], repo_id: str, read: hub.FileReader) -> dict[str, bytes]:
    """The files that change."""
    published: dict[str, Ranking | None] = {}
    changed: dict[str, Ranking] = {}
    for ranking in rankings:
        path = path_of(ranking)
        if path not in published:
            content = read(f"{JSON_FOLDER}/{path}.json")
            published[path] = Ranking.from_json(content) if content is not None else None
        whole = merged(published[path], ranking)
        if whole is not published[path]:
            published[path] = changed[path] = whole
    files = {f"{JSON_FOLDER}/{path}.json": whole.to_json().encode() for path, whole in changed.items()}
    files |= {f"{PARQUET_FOLDER}/{path}.parquet": parquet(whole, path) for path, whole in changed.items()}
    readme = read(_README)
    if files or readme is None:
        files = _outdated(readme, read) | files
        known = [listed(whole, path) for path, whole in published.items() if whole is not None]
        files[_README] = updated(readme, repo_id, known)
    return files


def _outdated(readme: bytes | None, read: hub.FileReader) -> dict[str, bytes]:
    """Parquet files written anew where the card is of an older layout.

    `datasets` takes the columns of the first file for those of all, and refuses files that have more.
    """
    version, lines = _unpacked(splice.data_of(readme or b""))
    files = {}
    for line in lines if version < LAYOUT_VERSION else ():
        content = read(f"{JSON_FOLDER}/{line.path}.json")
        # A damaged ranking of others hinders no publication; `pull` reports it.
        with suppress(EmmsError):
            if content is not None:
                files[f"{PARQUET_FOLDER}/{line.path}.parquet"] = parquet(Ranking.from_json(content), line.path)
    return files


class Listed(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the table."""

    path: str
    task: str
    dataset: str
    split: str
    n: int
    checkpoints: int
    created: str
    config: str | None = None
    best: str | None = None
    fine_tuned: str | None = None
    dataset_on_hub: bool = False
    best_on_hub: bool = False


def listed(ranking: Ranking, path: str) -> Listed:
    """The line of a ranking."""
    best = ranking.best
    measured = best.fine_tuned if best else None
    return Listed(
        path=path,
        task=ranking.task,
        dataset=ranking.dataset_id,
        split=ranking.split,
        n=ranking.n,
        checkpoints=sum(row.rank is not None for row in ranking.rows),
        created=ranking.created,
        config=ranking.config,
        best=best.checkpoint if best else None,
        fine_tuned=f"{measured.metric} {with_spread(measured)}" if measured else None,
        dataset_on_hub=is_commit(ranking.dataset_revision),
        best_on_hub=best is not None and is_commit(best.revision),
    )


def updated(readme: bytes | None, repo_id: str, new: Sequence[Listed]) -> bytes:
    """The card with some rankings added to its table, or brought up to date in it.

    Raises:
        EmmsError: the card's markers or data are broken, or written by a newer version.
    """
    known = {one.path: one for one in _unpacked(splice.data_of(readme or b""))[1]}
    known |= {one.path: one for one in new}
    lines = [known[path] for path in sorted(known)]
    data = splice.with_data({"version": LAYOUT_VERSION, "rankings": msgspec.to_builtins(lines)})
    table = rendered_template("results_table.md.jinja", lines=lines).strip("\n")
    section = f"{splice.START}\n{data}\n\n{table}\n{splice.END}\n"
    card = splice.put(readme or rendered_template("results_readme.md.jinja", repo_id=repo_id).encode(), section)
    return with_fields(card, {"task_categories": sorted({line.task for line in lines})})


class _PackedListing(msgspec.Struct):
    version: int
    rankings: list[Any]


def _unpacked(data: Any) -> tuple[int, tuple[Listed, ...]]:
    """The layout's version and the lines."""
    if data is None:
        return LAYOUT_VERSION, ()
    try:
        packed = msgspec.convert(data, _PackedListing)
        if packed.version > LAYOUT_VERSION:
            raise EmmsError(
                f"the results' card was written by a newer hf_emms (layout {packed.version})",
                "install a newer hf-emms",
            )
        return packed.version, msgspec.convert(packed.rankings, tuple[Listed, ...])
    except msgspec.ValidationError as error:
        raise EmmsError(
            f"the data in the results' card is damaged: {error}", "remove the lines between its markers"
        ) from error
