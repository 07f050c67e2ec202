"""The archive of a day: whole and on the disk once it has its name, and nothing of it left where it cannot be."""

from __future__ import annotations

import errno
import gzip
import os
from datetime import date
from pathlib import Path

import pytest

from spantree_exporter.retention.archive import Archive

DAY = date(2026, 10, 1)
NAME = "spantree-2026-10-01"


def archived(folder: Path, lines: bytes) -> str:
    with Archive(folder, DAY, 0) as archive:
        archive.add_lines(lines)
    return archive.name


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: gzip.decompress(path.read_bytes()) for path in sorted(folder.iterdir())}


def no_links(self: Path, target: Path) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(target))


@pytest.fixture(params=[None, no_links], ids=["links", "no links"])
def _links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        monkeypatch.setattr(Path, "hardlink_to", request.param)


@pytest.mark.usefixtures("_links")
def test_one_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    assert [archived(tmp_path, text) for text in (b"first\n", b"second\n", b"third\n")] == [
        f"{NAME}.jsonl.gz", f"{NAME}.2.jsonl.gz", f"{NAME}.3.jsonl.gz"
    ]  # fmt: skip
    assert list(contents(tmp_path).values()) == [b"second\n", b"third\n", b"first\n"]


def test_a_name_is_that_of_a_whole_file_from_the_first_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed just after it got its name, the next run neither cuts that file nor leaves an empty one beside it."""

    def killed(self: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Archive(tmp_path, DAY, 0) as archive:
        archive.add_lines(b"first\n")
        monkeypatch.setattr(Path, "unlink", killed)
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{NAME}.jsonl.gz", f"{NAME}.partial"]
    assert archived(tmp_path, b"again\n") == f"{NAME}.2.jsonl.gz"
    assert contents(tmp_path) == {f"{NAME}.2.jsonl.gz": b"again\n", f"{NAME}.jsonl.gz": b"first\n"}


def test_a_full_disk_keeps_nothing_of_it_and_is_told_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as at_the_end:
            archived(tmp_path, b"lines\n")
    with pytest.raises(OSError, match="No space left") as meanwhile, Archive(tmp_path, DAY, 0) as archive:
        # As gzip's file raises it: of the descriptor, without a name.
        monkeypatch.setattr(archive._file, "write", lambda lines: full(0))
        archive.add_lines(b"lines\n")
    for raised in (at_the_end, meanwhile):
        assert raised.value.filename == str(tmp_path / f"{NAME}.partial")
    assert list(tmp_path.iterdir()) == []
