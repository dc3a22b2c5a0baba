"""Memory is limited by the container if it has less than the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_emms.features.main_memory import main_memory, processor_name

MIB = 2**20
V2 = {"memory.max": 512 * MIB, "memory.current": 400 * MIB, "memory.stat": "inactive_file 104857600\n"}


def machine(root: Path, groups: str, **files: dict[str, object]) -> Path:
    """Write the control groups of a machine; `files` are their files by folder."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for folder, contents in files.items():
        (root / "sys/fs/cgroup" / folder).mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (root / "sys/fs/cgroup" / folder / name).write_text(f"{content}\n")
    return root


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/\n", {".": V2}),
        ("0::/docker/a:b\n", {".": V2}),  # named as the machine names it, and mounted as the root
        ("0::/a/b\n", {".": {}, "a": V2, "a/b": {**V2, "memory.max": "max"}}),  # the group around it has a limit
    ],
)
def test_a_container_has_the_memory_of_its_limit(tmp_path: Path, groups: str, files: dict[str, dict]) -> None:
    root = machine(tmp_path, groups, **files)
    assert main_memory(root) == (512 * MIB, (512 - 400 + 100) * MIB)


@pytest.mark.parametrize(("groups", "files"), [("", {}), ("0::/\n", {".": {"memory.max": "max"}})])
def test_without_a_limit_it_is_the_memory_of_the_machine(tmp_path: Path, groups: str, files: dict[str, dict]) -> None:
    total, free = main_memory(machine(tmp_path, groups, **files))
    assert 0 < free <= total == main_memory(tmp_path / "nothing")[0]


def test_a_full_container_has_none_left(tmp_path: Path) -> None:
    assert main_memory(machine(tmp_path, "0::/\n", **{".": {**V2, "memory.max": 200 * MIB}})) == (200 * MIB, 0)


def test_the_processor_has_a_name_on_every_system(tmp_path: Path) -> None:
    assert processor_name(tmp_path)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Fast CPU @ 2 GHz\nprocessor\t: 1\n")
    assert processor_name(tmp_path) == "Fast CPU @ 2 GHz"
