"""Datasets are read in a worker process: a file that crashes, hangs or fills it is one error, and leaves nothing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_emms.data.files.limits import MAX_COLUMNS
from hf_emms.errors import EmmsError
from hf_emms.finetune.splits import load_splits
from hf_emms.options import Options
from hf_emms.ranking.progress import Progress
from hf_emms.run import worker
from hf_emms.run.plan import Session
from tests.helpers.errors import raises_code
from tests.helpers.rows import CSV, error_of, texts, write
from tests.helpers.samples import load_sample, refused

LEVELS = 10_000


@pytest.fixture(autouse=True)
def with_worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(worker.ENABLED, "1")
    yield
    while worker._idle:
        worker._idle.pop().close()


def session(dataset: object, **settings: object) -> Session:
    return Session.start(Options.of(dataset, cache=False, **settings), Progress())


def failed(path: Path, **settings: object) -> EmmsError:
    """Return the error of reading a file, which must leave nothing in the cache of ``datasets``."""
    error = error_of(lambda: session(str(path), **settings).sample)
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    assert not [*cache.rglob("*.incomplete")]
    assert not [file for file in cache.glob("downloads/extracted/*") if file.suffix != ".lock"]
    return error


def nested(path: Path, start: str, end: str) -> Path:
    return write(path, 3 * f'{{"text": "a", "label": "b", "deep": {start * LEVELS}1{end * LEVELS}}}\n')


def test_a_file_that_crashes_its_reader_is_an_error(tmp_path: Path) -> None:
    error = failed(nested(tmp_path / "objects.jsonl", '{"a":', "}"))
    assert (error.code, "objects.jsonl" in error.message, "SIGSEGV" in error.message) == ("worker-died", True, True)


def test_a_file_that_hangs_its_reader_is_an_error(tmp_path: Path) -> None:
    error = failed(nested(tmp_path / "lists.jsonl", "[", "]"), stall_limit=3)
    assert error.code == "worker-stalled"
    assert "lists.jsonl" in error.message
    assert "stall_limit" in str(error.hint)


def test_a_file_that_fills_the_memory_is_an_error(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "line.csv.gz", "wb", compresslevel=1) as file:
        file.write(CSV.encode())
        for _ in range(300):
            file.write(b"a" * (1 << 20))
    error = failed(tmp_path / "line.csv.gz", read_memory="200MB")
    assert error.code == "too-much-memory"
    assert "line.csv.gz" in error.message
    assert 'read_memory="400.0MB"' in str(error.hint)


def test_a_card_whose_aliases_fill_the_memory_is_an_error(tmp_path: Path) -> None:
    levels = [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    write(tmp_path / "train.csv", CSV)
    write(tmp_path / "README.md", "\n".join(["---", "a0: &a0 [x,x,x]", *levels, "configs: *a11", "---", ""]))
    assert failed(tmp_path, read_memory="200MB", stall_limit=20).code in ("too-much-memory", "worker-stalled")


def test_a_small_parquet_file_of_large_rows_is_not_read(tmp_path: Path) -> None:
    rows = 3_000
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["a" * 2_480_000]))
    table = pa.table({"text": cells, "label": ["ab"[row % 2] for row in range(rows)]})
    pq.write_table(table, tmp_path / "bomb.parquet", compression="zstd", store_schema=False)
    assert (tmp_path / "bomb.parquet").stat().st_size < 3_000
    error = failed(tmp_path / "bomb.parquet", max_samples=40, read_memory="1GB")
    assert error.code == "too-much-memory"
    assert "7.4 GB" in error.message


def test_wide_tables_are_refused_before_their_values_are_read(tmp_path: Path) -> None:
    keys = {"text": "a", "label": "b"} | {f"key{number}": number for number in range(1_000_000)}
    write(tmp_path / "keys.jsonl", json.dumps(keys) + "\n" + '{"text": "a", "label": "b"}\n' * 40)
    write(tmp_path / "columns.csv", f"text,label{',a' * 100_000}\n" + f"a,b{',1' * 100_000}\n" * 3)
    columns = {f"column{number}": pa.array([1]) for number in range(MAX_COLUMNS + 1)}
    pq.write_table(pa.table(columns), tmp_path / "wide.parquet")
    for name in ("keys.jsonl", "columns.csv", "wide.parquet"):
        error = refused(str(tmp_path / name))
        assert (error.code, name in error.message) == ("too-many-columns", True)


def test_errors_of_the_data_are_those_of_the_process_that_reads(tmp_path: Path) -> None:
    file = str(write(tmp_path / "rows.csv", CSV))
    for settings in ({"label_column": "nosuch"}, {"split": "nosuch"}, {"task": "nosuch"}):
        settings = {"max_samples": 100, **settings}
        here, there = refused(file, **settings), error_of(lambda settings=settings: session(file, **settings).sample)
        assert (there.code, str(there)) == (here.code, str(here))


def test_samples_and_splits_are_those_of_the_process_that_reads(tmp_path: Path) -> None:
    rows = "".join(f"the text {n} of one,{'ab'[n % 2]}\n" for n in range(120))
    file = str(write(tmp_path / "rows.csv", "text,label\n" + rows))
    read = session(file, max_samples=100)
    assert read.sample.fingerprint == load_sample(file, max_samples=100).fingerprint
    assert read.reading_seconds > 0
    assert read.read_splits(read.source).fingerprint == load_splits(Options.of(file).sample).fingerprint


def test_data_in_memory_is_read_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hf_emms.run.reading.run_in_worker", None)
    assert len(session(texts(30, ["a", "b"])).sample) == 30


def test_a_memory_that_is_no_size_is_refused() -> None:
    with raises_code("invalid-value", "8GB"):
        Options.of("demo_glosses", read_memory="much")
