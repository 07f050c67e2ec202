"""A day's spans and log records into a file that `spantree import` reads back: gzip of OTLP/JSON lines.

It has its name once all of it is on the disk.
"""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Final

import orjson

from spantree_exporter.otlp.encode_json import traces_lines
from spantree_exporter.otlp.rows import OtlpSpan

# zlib's level: 3 takes half the time of 6 and some 10 % more bytes.
_LEVEL: Final = 3
_LINE_SPANS: Final = 500
_LINE_BYTES: Final = 4 * 2**20


class Archive:
    """One file, written whole or not there. Use as a context; `name` is final once it is left without an error."""

    def __init__(self, folder: Path, day: date, tenant_id: int) -> None:
        self._folder = folder
        self._stem = f"spantree-{day.isoformat()}" + (f"-tenant-{tenant_id}" if tenant_id else "")
        self._partial = folder / f"{self._stem}.partial"
        self._some: list[OtlpSpan] = []
        self._bytes = 0
        self.name = ""
        self.spans = 0

    def __enter__(self) -> Archive:
        self._folder.mkdir(parents=True, exist_ok=True)
        # One that a killed run left may be an archive by now: one file of two names, which must not be cut.
        self._partial.unlink(missing_ok=True)
        # Of spans only their owner may know.
        self._raw = os.fdopen(os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._file = gzip.GzipFile("", "wb", _LEVEL, self._raw, mtime=0)
        return self

    def add(self, spans: Iterable[OtlpSpan]) -> None:
        """More spans, those of a trace one after the other. Raises OSError."""
        for one in spans:
            self.spans += 1
            if self._some and (
                one.span.trace_id != self._some[0].span.trace_id
                or len(self._some) >= _LINE_SPANS
                or self._bytes >= _LINE_BYTES
            ):
                self._write()
            self._some.append(one)
            self._bytes += len(orjson.dumps(one.span.attributes)) + len(one.raw or b"")

    def add_lines(self, lines: bytes) -> None:
        """Lines of OTLP/JSON as they are. Raises OSError."""
        self._write()
        self._file.write(lines)

    def _write(self) -> None:
        if self._some:
            in_order = sorted(
                self._some, key=lambda one: (one.span.resource_id, orjson.dumps(one.span.scope), one.span.start_ns)
            )
            self._file.write(traces_lines(in_order))
        self._some, self._bytes = [], 0

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if kind is None:
                self._finish()
            else:
                self._remove()
                # What is written to an open file has no name in its errors.
                if isinstance(error, OSError) and error.filename is None:
                    error.filename = os.fspath(self._partial)
        finally:
            # After an error both would write again what could not be written.
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                self._raw.close()

    def _finish(self) -> None:
        try:
            self._write()
            self._file.close()
            self._raw.flush()
            os.fsync(self._raw.fileno())
            self.name = self._named().name
            _sync(self._folder)
        except OSError as error:
            self._remove()
            error.filename = error.filename or os.fspath(self._partial)
            raise

    def _remove(self) -> None:
        """Take the unfinished file off a disk that may be full of it."""
        with contextlib.suppress(OSError):
            self._partial.unlink()

    def _named(self) -> Path:
        """Give it the first name that is free, whole: an archive that is there is never written over."""
        number = 1
        while True:
            path = self._folder / (self._stem + (f".{number}" if number > 1 else "") + ".jsonl.gz")
            number += 1
            try:
                path.hardlink_to(self._partial)
            except FileExistsError:
                continue
            except OSError:
                # A file system without links: the name is taken by an empty file, which is all that a kill leaves.
                try:
                    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                except FileExistsError:
                    continue
                self._partial.replace(path)
            else:
                self._partial.unlink()
            return path


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
