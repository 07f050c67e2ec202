"""What was redacted of one span, one log record, one resource or one scope: told by an attribute of its own. Pure.

    spantree.redacted = ["cookie:attributes.http.request.header.cookie", "password:name"]

Kinds and places, never what there was. Sorted, so that the same span has the same form however it was sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from spantree_exporter.attributes import REDACTED
from spantree_exporter.redaction.effort import Effort

_NOTES_MAX: Final = 32
_NOTE_CHARS: Final = 200
_COLLECTED_MAX: Final = 1_000
_MORE: Final = "more"

__all__ = ["REDACTED", "Notes"]


class Notes:
    """Notes of one owner; `kinds` counts what was redacted now, over all owners that share it, as they do `effort`."""

    def __init__(self, kinds: Counter[str] | None = None, effort: Effort | None = None) -> None:
        self.kinds: Counter[str] = Counter() if kinds is None else kinds
        self.effort = Effort() if effort is None else effort
        self.changed = False
        self._notes: set[str] = set()

    def add(self, found: Iterable[str], where: str) -> None:
        """Secrets of these kinds were there."""
        for kind in found:
            self.changed = True
            self.kinds[kind] += 1
            self._put(f"{kind}:{where}")

    def extend(self, told: Iterable[object]) -> None:
        """What an earlier redaction told of the same owner."""
        for note in told:
            if isinstance(note, str):
                self._put(note)

    def texts(self) -> list[str]:
        """All notes, as the attribute has them."""
        notes = sorted(self._notes)
        return notes if len(notes) <= _NOTES_MAX else [*notes[:_NOTES_MAX], _MORE]

    def _put(self, note: str) -> None:
        if len(self._notes) < _COLLECTED_MAX:
            self._notes.add(note if len(note) <= _NOTE_CHARS else note[:_NOTE_CHARS] + "...")
