"""What a receiver has to know of a body before it accepts it, and the body without secrets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from spantree_collector.receive.object_budget import SPAN_UNITS, check_objects, too_many_objects
from spantree_exporter import hot_path
from spantree_exporter.otlp.decode import PROTOBUF, Examined
from spantree_exporter.otlp.decode_protobuf import count_spans
from spantree_exporter.otlp.signals import examine
from spantree_exporter.redaction import Redactor


@dataclass(frozen=True, slots=True)
class Examination:
    """`body` is without secrets: the one that was examined where it has none, as `redacted` tells by kind."""

    examined: Examined
    body: bytes
    redacted: Counter[str]


class BodyExaminer:
    """The rules that bodies are examined by. Any thread may use it."""

    def __init__(self, redactor: Redactor | None, max_objects: int) -> None:
        self._redactor = redactor
        self._max_objects = max_objects
        self._most_spans = max_objects // SPAN_UNITS

    def may_hold_secrets(self, plain: bytes, encoding: str) -> bool:
        """Whether a body has to be read for its secrets."""
        return self._redactor is not None and self._redactor.may_hold_secrets(plain, encoding)

    def examine(self, plain: bytes, encoding: str) -> Examination:
        """Examine an inflated body. Raises MalformedRequest, BodyTooLarge."""
        check_objects(plain, encoding, self._max_objects)
        body, redacted = plain, Counter[str]()
        if self._redactor is not None:
            # Before anything else reads it: what is said of a body that is refused may quote it.
            body, redacted = self._redactor.body(plain, encoding)
        examined = examine(body, encoding, self._most_spans)
        if examined.spans > self._most_spans:
            raise too_many_objects(self._max_objects)
        return Examination(examined, body, redacted)

    def examine_plain(self, plain: bytes, encoding: str) -> Examination | None:
        """As `examine`, by compiled code that lets other threads go on; None where that does not do."""
        if encoding != PROTOBUF or hot_path.native is None:
            return None
        check_objects(plain, encoding, self._max_objects)
        if self.may_hold_secrets(plain, encoding):
            return None
        spans = count_spans(plain)
        return None if spans is None else Examination(Examined(spans, 0, ""), plain, Counter())
