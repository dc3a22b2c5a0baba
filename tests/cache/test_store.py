"""Entries come back as they were stored, or not at all."""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_emms.cache import Cache, default_root
from tests.helpers.caching import cached_files

KEY = {"kind": "rows", "id": "org/model", "revision": "a" * 40, "seed": 0}


def as_it_is(value: Any) -> Any:
    return value


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, problems: list[str]) -> Cache:
    return Cache(tmp_path / "cache", problems.append)


def test_arrays_come_back_bit_for_bit(cache: Cache) -> None:
    arrays = {
        "features": np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)[:, ::-1],
        "rows": np.arange(7),
        "nothing": np.empty((0, 3), np.float16),
    }
    cache.put(KEY, arrays)
    stored = cache.get(KEY, dict)
    assert stored is not None
    assert set(stored) == set(arrays)
    for name, array in arrays.items():
        assert stored[name].dtype == array.dtype
        np.testing.assert_array_equal(stored[name], array)


def test_any_change_of_the_key_is_another_entry(cache: Cache) -> None:
    cache.put_json(KEY, 1)
    for change in ({"seed": 1}, {"revision": "b" * 40}, {"extra": None}):
        assert cache.get_json({**KEY, **change}, as_it_is) is None
    assert cache.get_json(dict(reversed(KEY.items())), as_it_is) == 1
    for key, value in (({**KEY, "seed": np.nan}, 1), ({**KEY, "seed": 2}, np.nan)):
        with pytest.raises(ValueError, match="JSON compliant"):
            cache.put_json(key, value)


def test_a_disabled_cache_and_one_that_cannot_be_written_keep_nothing(tmp_path: Path, problems: list[str]) -> None:
    (tmp_path / "file").write_text("not a folder")
    for cache in (Cache(None, problems.append), Cache(tmp_path / "file", problems.append)):
        assert problems == []
        cache.put(KEY, {"x": np.zeros(1)})
        cache.put_json(KEY, 1)
        assert (cache.get(KEY, dict), cache.get_json(KEY, as_it_is)) == (None, None)
    assert ["HF_EMMS_CACHE" in problem for problem in problems] == [True, False]


@pytest.mark.parametrize("kind", ["features", "rows"])
def test_an_entry_that_is_cut_or_has_a_flipped_bit_anywhere_is_said_and_removed(
    cache: Cache, problems: list[str], kind: str
) -> None:
    """This includes the header, which has only the key and the checksum in addition to the arrays' names and shapes."""
    key = {**KEY, "kind": kind}
    if kind == "features":
        cache.put(key, {"x": np.arange(4, dtype=np.float32)})
    else:
        cache.put_json(key, {"value": 123456})
    (path,) = cached_files(cache.root)
    content = path.read_bytes()
    flipped = [content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :] for place in range(len(content))]
    for damaged in (b"", content[:-3], *flipped):
        path.write_bytes(damaged)
        stored = cache.get(key, dict) if kind == "features" else cache.get_json(key, as_it_is)
        assert (stored, path.exists()) == (None, False), damaged
        assert str(path) in problems[-1]
    assert len(problems) == 2 + len(content) > 100


@pytest.mark.parametrize("is_read_before", [True, False])
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a pipe, a socket or a device"),
        (lambda path: path.symlink_to("/dev/zero"), "a link, which hf_emms does not follow"),
        (
            lambda path: path.symlink_to(path.parents[2] / "outside"),
            "a link, which hf_emms does not follow",
        ),  # to nothing
        (Path.mkdir, "a folder"),
    ],
)
def test_what_is_in_the_place_of_an_entry_is_no_entry_and_gives_way_or_is_reported(
    cache: Cache, problems: list[str], tmp_path: Path, make: Callable[[Path], None], kind: str, *, is_read_before: bool
) -> None:
    """Nothing is read or written through it."""
    cache.put(KEY, {"x": np.arange(3)})
    (entry,) = cached_files(cache.root)
    entry.unlink()
    make(entry)
    if is_read_before:
        assert cache.get(KEY, dict) is None
        reason = f"{entry.name} is not a file, but {kind}"
        assert f"{entry} ({reason})" in problems.pop()
    cache.put(KEY, {"x": np.arange(3)})
    assert cache.holds(KEY) == (make is not Path.mkdir)
    assert (problems == []) == (make is not Path.mkdir)
    assert list(tmp_path.rglob("*")) == [cache.root, entry.parent, entry]


def test_a_folder_of_the_cache_that_is_a_link_is_not_followed(
    cache: Cache, problems: list[str], tmp_path: Path
) -> None:
    outside = Cache(tmp_path / "outside")
    outside.put(KEY, {"x": np.arange(3)})
    assert cache.root is not None
    cache.root.mkdir()
    (cache.root / "rows").symlink_to(tmp_path / "outside" / "rows")
    assert cache.get(KEY, dict) is None
    cache.put_json(KEY, 1)
    assert ["rows is not a folder, but a link, which hf_emms does not follow)" in problem for problem in problems] == [
        True,
        True,
    ]
    assert len(cached_files(outside.root)) == 1


@pytest.mark.parametrize(
    ("error", "words", "stays"),
    [
        (OSError(errno.EIO, "Input/output error"), "(Input/output error)", True),
        (KeyError("x"), "damaged ('x')", False),
        (TypeError("x\ny"), "damaged (x)", False),
        (RecursionError(), "damaged (RecursionError)", False),
    ],
)
def test_an_entry_of_another_form_is_said_and_removed_and_one_that_cannot_be_read_stays(
    cache: Cache, problems: list[str], error: Exception, words: str, *, stays: bool
) -> None:
    def made_of(stored: Any) -> None:
        if isinstance(error, RecursionError):
            entry.unlink()  # another process was faster
        raise error

    cache.put_json(KEY, 1)
    (entry,) = cached_files(cache.root)
    assert cache.get_json(KEY, made_of) is None
    (problem,) = problems
    assert str(entry) in problem and words in problem  # noqa: PT018
    assert cache.get_json(KEY, int) == (1 if stays else None)


def _write_often(root: Path, value: int) -> None:
    cache = Cache(root)
    for _ in range(50):
        cache.put(KEY, {"x": np.full(5000, value)})


def test_readers_never_see_half_of_an_entry(tmp_path: Path, problems: list[str]) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_often, args=(tmp_path, value)) for value in (1, 2)]
    for writer in writers:
        writer.start()
    cache, seen = Cache(tmp_path, problems.append), 0
    while any(writer.is_alive() for writer in writers):
        stored = cache.get(KEY, dict)
        if stored is not None:
            seen += 1
            assert stored["x"].shape == (5000,)
            assert len(set(stored["x"].tolist())) == 1
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert problems == []
    assert seen
    assert not list(tmp_path.glob("*/.writing-*"))


def test_the_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_EMMS_CACHE", str(tmp_path / "own"))
    assert default_root() == tmp_path / "own"
    monkeypatch.delenv("HF_EMMS_CACHE")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert default_root() == tmp_path / "home" / "emms"
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_root() == tmp_path / "xdg" / "huggingface" / "emms"
