"""Dead letters in PostgreSQL: equal ones once, and never more than a number and a size of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import psycopg

from spantree_exporter.sql import statements
from spantree_exporter.stored import NUL_SIGN

if TYPE_CHECKING:
    from spantree_exporter.otlp.decode import DeadLetter

log = logging.getLogger(__name__)

_SQL: Final = statements("write")
# They are counted again after so large a part of the limit has come: the limits hold to within this, and counting,
# which reads the table, is rare.
_TRIM_AFTER: Final = 0.02


@dataclass(frozen=True, slots=True)
class DeadLetterLimits:
    """What is kept of dead letters; beyond it the oldest go."""

    letters: int = 100_000
    bytes: int = 2**30


class DeadLetters:
    """The dead letters of one tenant, over one connection."""

    def __init__(self, tenant_id: int, limits: DeadLetterLimits) -> None:
        self._tenant_id = tenant_id
        self._limits = limits
        # Nothing is known yet of what is there.
        self._letters_since = self._bytes_since = 0
        self._counted = False

    def insert(self, cursor: psycopg.Cursor[Any], dead: Sequence[DeadLetter]) -> None:
        """Store `dead` in the transaction of `cursor`, equal ones as one. Raises psycopg.Error."""
        letters: dict[bytes, list[DeadLetter]] = {}
        for letter in dead:
            digest = sha256(letter.encoding.encode() + b"\x00" + letter.raw).digest()
            letters.setdefault(digest, []).append(letter)
        first = [equal[0] for equal in letters.values()]
        cursor.execute(
            _SQL["upsert_dead_letters"],
            {
                "tenant_id": self._tenant_id,
                "digests": list(letters),
                "received_ns": [min(letter.received_ns for letter in equal) for equal in letters.values()],
                "last_received_ns": [max(letter.received_ns for letter in equal) for equal in letters.values()],
                "causes": [letter.cause for letter in first],
                # A reason may quote what was sent.
                "reasons": [letter.reason.replace("\x00", NUL_SIGN) for letter in first],
                "encodings": [letter.encoding for letter in first],
                "raws": [letter.raw for letter in first],
                "counts": [len(equal) for equal in letters.values()],
            },
        )
        self._letters_since += len(first)
        self._bytes_since += sum(len(letter.raw) for letter in first)

    def trim(self, connection: psycopg.Connection[Any]) -> int:
        """Delete the oldest where they have become too many, in a transaction of its own; how many went."""
        limits = self._limits
        is_due = self._letters_since > limits.letters * _TRIM_AFTER or self._bytes_since > limits.bytes * _TRIM_AFTER
        if not self._letters_since or (self._counted and not is_due):
            return 0
        arguments = {"tenant_id": self._tenant_id, "letters": limits.letters, "bytes": limits.bytes}
        gone = Counter(cause for (cause,) in connection.execute(_SQL["trim_dead_letters"], arguments))
        self._counted = True
        self._letters_since = self._bytes_since = 0
        if gone:
            told = ", ".join(f"{count} {cause}" for cause, count in sorted(gone.items()))
            log.warning(
                "the oldest dead letters were deleted (%s): more than %d letters or %d bytes are not kept; "
                '"spantree dead-letter list" shows why there are so many',
                told,
                limits.letters,
                limits.bytes,
            )
        return gone.total()
