"""Which of two equal ways decoding and row bytes take: compiled C where that is built, Python everywhere else.

The C (exporter/native) does what is common and hands anything unusual back to Python, where every rule has its home; so
whatever it does not do for a body, a span or a batch is done by the code beside the call. Chosen once, by what the
process imports and by SPANTREE_PURE_PYTHON, which docs/configuration.md describes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from importlib import import_module
from typing import Any, Final, Literal, Protocol

import orjson

from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.otlp.build import MAX_KEYS
from spantree_exporter.setting_values import NO
from spantree_exporter.span import Event, Link, Resource, Scope, Span
from spantree_exporter.stored import stored_bytes, stored_double

COMPILED: Final = "compiled"
PYTHON: Final = "python"

SETTING: Final = "SPANTREE_PURE_PYTHON"
# What both sides expect of each other, see INTERFACE in native/module.c.
_INTERFACE: Final = 6


class Native(Protocol):
    """The compiled module, native/module.c. None, or an item None: unusual, for Python to do."""

    def set_up(self, *arguments: object) -> None:
        """Give it what it calls and makes. Raises ImportError, TypeError where it does not fit."""

    def read_spans(self, sent: list[bytes], resource: Resource, scope: Scope, received_ns: int, /) -> list[Span | None]:
        """The spans that lose nothing, each at its place."""

    def examine_body(self, body: bytes, /) -> int | None:
        """How many spans there are in a request whose frames and ids are all in order."""

    def object_units(self, body: bytes, logs: bool, most: int, /) -> int | None:
        """What a request holds by the prices of object_budget.py; more than `most` as soon as that is sure."""

    def span_rows(
        self, tenant_id: int, days: list[int], spans: list[Span], facts: list[Facts], first: int, last: int, /
    ) -> bytes | None:
        """The tuples of spans[first:last]."""

    def table_rows(
        self,
        tenant_id: int,
        keys: list[tuple[int, bytes]],
        rows: list[Any],
        names: tuple[str, ...],
        columns: bytes,
        last: list[bytes],
        /,
    ) -> bytes | None:
        """Tuples with a field for each of `names`; `columns` has a letter for each, see copy_binary.LETTERS.

        `last`, where it is not empty, has for each row the field of one more column, its length before it.
        """

    def term_lists(self, spans: list[Span], /) -> tuple[bytes, bytes, list[int], list[int]] | None:
        """The terms of the spans and which spans have each, with fences; see terms/segment.py."""

    def merge_term_lists(
        self, parts: list[tuple[bytes, bytes, int]], /
    ) -> tuple[bytes, bytes, list[int], list[int]] | None:
        """The terms of several segments as those of one; see terms/segment.py."""

    def term_durations(self, spans: list[Span], /) -> tuple[bytes, bytes, list[int]] | None:
        """The spans by their durations, the codes of these, and where octaves end; see terms/segment.py."""


def set_up(native: Native, *, own_sha256: bool = True) -> None:
    """Connect `native` with our classes and rules. `own_sha256`: by the processor's instructions where it has them."""
    native.set_up(
        _INTERFACE, Span, Event, Link, Resource, Scope, stored_double, stored_bytes, orjson.dumps, sha256, MAX_KEYS,
        own_sha256,
    )  # fmt: skip


def load(environ: Mapping[str, str]) -> tuple[Native | None, str]:
    """(the compiled module, "") or (None, why it is not used)."""
    if environ.get(SETTING, "").strip().lower() not in ("", *NO):
        return None, f"{SETTING} is set"
    try:
        found: Any = import_module("spantree_exporter._hot_path")
        set_up(found)
    except ModuleNotFoundError:
        return None, "it is not built"
    except (ImportError, TypeError) as error:
        return None, f"it cannot be used: {error}"
    return found, ""


native, reason = load(os.environ)
"""The compiled module where this process uses it, else None and why."""


def hot_path() -> Literal["compiled", "python"]:
    """The way that this process takes."""
    return PYTHON if native is None else COMPILED
