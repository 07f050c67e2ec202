"""OTLP requests in protobuf without secrets: texts are replaced where they stand, all else stays byte by byte.

The lengths of what encloses a text are written anew, no message is parsed into objects. What is no protobuf, or is of
a field that is not known, is looked at as text, and goes if there is a secret in it. Numbers of fields:
opentelemetry-proto trace/v1/trace.proto, logs/v1/logs.proto, common/v1/common.proto, resource/v1/resource.proto.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from spantree_exporter.otlp.build import MAX_DEPTH
from spantree_exporter.otlp.decode_protobuf import value_of
from spantree_exporter.otlp.protobuf_fields import BYTES, GROUP, VARINT, Malformed, fields_of, varint_at, varint_bytes
from spantree_exporter.redaction.notes import REDACTED, Notes
from spantree_exporter.redaction.rules import KeyRule
from spantree_exporter.redaction.scan import Scan
from spantree_exporter.redaction.text import MASKED, RULE_FAILED, TextRedactor
from spantree_exporter.redaction.values import flag_rule, is_none, secret_of

_STRING_TAG: Final = b"\x0a"
_MARK: Final = b"\x0a" + bytes((len(REDACTED),)) + REDACTED.encode()
UNKNOWN: Final = "unknown_field"
TOO_DEEP: Final = "too_deep"

# What becomes of the content of a field: itself, other bytes, or None: the field goes.
_Reader: TypeAlias = Callable[[bytes, Notes, str], bytes | None]
# By the number of a field its reader and what is added to the place.
_Plan: TypeAlias = Mapping[int, tuple[_Reader, str]]


class ProtobufRedactor:
    """Rewrites bodies. Any thread may use it."""

    def __init__(self, redactor: TextRedactor, scan: Scan) -> None:
        self._redactor = redactor
        self._scan = scan
        event: _Plan = {2: (self._text, ".name"), 3: (self._pair, ".attributes")}
        link: _Plan = {1: (self._id, ".trace_id"), 2: (self._id, ".span_id"), 3: (self._text, ".trace_state"),
                       4: (self._pair, ".attributes")}  # fmt: skip
        self._span_plan: _Plan = {
            1: (self._id, "trace_id"), 2: (self._id, "span_id"), 3: (self._text, "trace_state"),
            4: (self._id, "parent_span_id"), 5: (self._text, "name"), 9: (self._pair, "attributes"),
            11: (self._within(event), "events"), 13: (self._within(link), "links"),
            15: (self._within({2: (self._text, "_message")}), "status"),
        }  # fmt: skip
        self._log_plan: _Plan = {
            3: (self._text, "severity_text"), 5: (self._value, "body"), 6: (self._pair, "attributes"),
            9: (self._id, "trace_id"), 10: (self._id, "span_id"), 12: (self._text, "event_name"),
        }  # fmt: skip
        self._resource_plan: _Plan = {1: (self._pair, "resource.attributes")}
        self._scope_plan: _Plan = {
            1: (self._text, "scope.name"), 2: (self._text, "scope.version"), 3: (self._pair, "scope.attributes"),
        }  # fmt: skip

    def body(self, body: bytes, *, logs: bool) -> tuple[bytes, Counter[str]]:
        """`body` without secrets and how many there were of each kind; itself where there were none."""
        kinds: Counter[str] = Counter()
        if not self._scan(body):
            return body, kinds
        item_plan, attributes = (self._log_plan, 6) if logs else (self._span_plan, 9)
        item = self._owner(item_plan, attributes, _bare_log if logs else _bare_span)
        resource, scope = self._owner(self._resource_plan, 1), self._owner(self._scope_plan, 3)

        # Of what frames others nothing is told but its kind: a schema URL, what is no field.
        frames = Notes(kinds)

        def of_scope(sent: bytes, notes: Notes, where: str) -> bytes | None:
            return self._message(sent, {1: (scope, ""), 2: (item, ""), 3: (self._text, "schema_url")}, frames, "")

        def of_resource(sent: bytes, notes: Notes, where: str) -> bytes | None:
            return self._message(
                sent, {1: (resource, ""), 2: (of_scope, ""), 3: (self._text, "schema_url")}, frames, ""
            )

        redacted = self._message(body, {1: (of_resource, "")}, frames, "")
        return (redacted if kinds else body), kinds

    # ---- messages ----------------------------------------------------------------------------------------------

    def _message(self, sent: bytes, plan: _Plan, notes: Notes, where: str) -> bytes:
        """A message whose fields are read by `plan`, each by itself; `sent` itself where nothing changed."""
        try:
            fields = list(fields_of(sent))
        except Malformed:
            return self._unreadable(sent, notes, where)
        pieces: list[bytes] = []
        changed = False
        for number, kind, tag_at, at, end in fields:
            if kind in (BYTES, GROUP):
                content = sent[at:end]
                reader, place = plan.get(number, _UNKNOWN) if kind == BYTES else _UNKNOWN
                new = self._unknown(content, notes, where) if reader is None else reader(content, notes, where + place)
                if new is not content:
                    changed = True
                    if new is not None:
                        pieces.append(_field(number, new))
                    continue
            pieces.append(sent[tag_at:end])
        return b"".join(pieces) if changed else sent

    def _within(self, plan: _Plan) -> _Reader:
        def read(sent: bytes, notes: Notes, where: str) -> bytes:
            return self._message(sent, plan, notes, where) if self._scan(sent) else sent

        return read

    def _owner(self, plan: _Plan, attributes: int, bare: Callable[[bytes], bytes] | None = None) -> _Reader:
        """A message that tells by an attribute what was redacted of it; `bare` is what is left if that fails."""

        def read(sent: bytes, frames: Notes, where: str) -> bytes:
            if not self._scan(sent):
                return sent
            notes = Notes(frames.kinds, frames.effort)
            told: list[bytes] = []

            def pair(content: bytes, notes: Notes, where: str) -> bytes | None:
                if content.startswith(_MARK):
                    told.append(content)
                    return None
                return self._pair(content, notes, where)

            try:
                new = self._message(sent, {**plan, attributes: (pair, plan[attributes][1])}, notes, where)
                if not notes.changed:
                    return sent
            except Exception:
                # Neither is a secret let through nor the span lost: it goes without its texts.
                notes.add([RULE_FAILED], "all")
                new = b"" if bare is None else bare(sent)
            for one in told:
                value = value_of(_value_of_pair(one), [])
                notes.extend(value if isinstance(value, list) else ())
            return _with_mark(new, attributes, notes)

        return read

    # ---- what is in them ---------------------------------------------------------------------------------------

    def _text(self, sent: bytes, notes: Notes, where: str) -> bytes:
        redacted, kinds = self._redactor.of_bytes(sent, notes.effort)
        if not kinds:
            return sent
        notes.add(kinds, where)
        return redacted

    def _id(self, sent: bytes, notes: Notes, where: str) -> bytes:
        return sent if len(sent) in (0, 8, 16) else self._text(sent, notes, where)

    def _unknown(self, sent: bytes, notes: Notes, where: str) -> bytes | None:
        _, kinds = self._redactor.of_bytes(sent, notes.effort) if self._scan(sent) else (sent, [])
        notes.add(kinds, UNKNOWN)
        return None if kinds else sent

    def _unreadable(self, sent: bytes, notes: Notes, where: str) -> bytes:
        # Nothing can be read from it, so nothing more is lost if it is cut.
        redacted, kinds = self._redactor.of_bytes(sent, notes.effort)
        notes.add(kinds, where or "unreadable")
        return redacted if kinds else sent

    def _pair(self, sent: bytes, notes: Notes, where: str, depth: int = 1) -> bytes | None:
        if not self._scan(sent):
            return sent
        try:
            fields = list(fields_of(sent))
        except Malformed:
            return self._unreadable(sent, notes, where)
        keys = [sent[at:end] for number, kind, _, at, end in fields if number == 1 and kind == BYTES]
        shown = keys[-1] if keys else b""
        shown, _ = self._redactor.of_bytes(shown, notes.effort)
        where = f"{where}.{shown.decode('utf-8', 'replace')}"
        rule = next(filter(None, (self._redactor.words.of(key.decode("latin-1")) for key in keys)), None)

        def value(content: bytes, notes: Notes, where: str) -> bytes | None:
            if rule is None:
                return self._value(content, notes, where, depth)
            told = value_of(content, [])
            if is_none(told):
                return content
            notes.add([rule.kind], where)
            instead = self._redactor.instead(rule, secret_of(told))
            return _string(instead) if instead else None

        new = self._message(sent, {1: (self._text, ""), 2: (value, "")}, notes, where)
        # Without its value the attribute goes.
        has_value = any(number == 2 for number, *_ in fields_of(new)) or new is sent
        return new if has_value else None

    def _value(self, sent: bytes, notes: Notes, where: str, depth: int = 1) -> bytes:
        # A text that is no secret by itself may be one beside its key, of which `_pair` knows: here the value is alone.
        if not self._scan(sent):
            return sent
        if depth >= MAX_DEPTH:
            notes.add([TOO_DEEP], where)
            return _string(MASKED)
        plan: _Plan = {
            1: (self._text, ""),
            5: (lambda content, notes, where: self._array(content, notes, where, depth + 1), ""),
            6: (lambda content, notes, where: self._map(content, notes, where, depth + 1), ""),
            7: (self._text, ""),
        }
        return self._message(sent, plan, notes, where)

    def _array(self, sent: bytes, notes: Notes, where: str, depth: int) -> bytes:
        flag: KeyRule | None = None

        def item(content: bytes, notes: Notes, where: str) -> bytes:
            nonlocal flag
            told = flag
            text = content[_string_start(content) :] if content.startswith(_STRING_TAG) else b""
            flag = flag_rule(text.decode("utf-8", "replace"), self._redactor) if text.startswith(b"-") else None
            if told is not None and text and not is_none(text.decode("utf-8", "replace")):
                notes.add([told.kind], where)
                return _string(self._redactor.instead(told, text))
            return self._value(content, notes, where, depth)

        return self._message(sent, {1: (item, "")}, notes, where)

    def _map(self, sent: bytes, notes: Notes, where: str, depth: int) -> bytes:
        return self._message(
            sent, {1: (lambda content, notes, where: self._pair(content, notes, where, depth), "")}, notes, where
        )


_UNKNOWN: Final[tuple[None, str]] = (None, "")


# ---- the wire -------------------------------------------------------------------------------------------------------


def _field(number: int, content: bytes) -> bytes:
    return varint_bytes(number << 3 | BYTES) + varint_bytes(len(content)) + content


def _string(text: str) -> bytes:
    """An AnyValue that is this text."""
    return _field(1, text.encode("utf-8", "surrogatepass"))


def _string_start(value: bytes) -> int:
    try:
        return varint_at(value, 1)[1]
    except Malformed:
        return len(value)


def _value_of_pair(pair: bytes) -> bytes:
    return next((pair[at:end] for number, _, _, at, end in fields_of(pair) if number == 2), b"")


def _with_mark(message: bytes, attributes: int, notes: Notes) -> bytes:
    """`message` with the attribute that tells of it, before all others: what has too many loses the last ones."""
    items = b"".join(_field(1, _string(text)) for text in notes.texts())
    mark = _field(attributes, _MARK + _field(2, _field(5, items)))
    try:
        at = next((tag_at for number, _, tag_at, _, _ in fields_of(message) if number == attributes), len(message))
    except Malformed:
        # Nobody can read it; it becomes a dead letter as it is.
        return message
    return message[:at] + mark + message[at:]


_SPAN_IDS: Final = {1: 16, 2: 8, 4: 8}
_LOG_IDS: Final = {9: 16, 10: 8}
_STATUS: Final = 15


def _bare_span(sent: bytes) -> bytes:
    return _bare(sent, _SPAN_IDS)


def _bare_log(sent: bytes) -> bytes:
    return _bare(sent, _LOG_IDS)


def _bare(sent: bytes, ids: Mapping[int, int]) -> bytes:
    """What of a span is no text: ids, times, numbers, the code of its status."""
    kept: list[bytes] = []
    for number, kind, tag_at, at, end in fields_of(sent):
        if kind == BYTES and number == _STATUS and ids is _SPAN_IDS:
            codes = [
                sent[at:end][begin:stop] for field, way, begin, _, stop in fields_of(sent[at:end]) if way == VARINT
            ]
            kept.append(_field(_STATUS, b"".join(codes)))
        elif kind not in (BYTES, GROUP) or (kind == BYTES and ids.get(number) == end - at):
            kept.append(sent[tag_at:end])
    return b"".join(kept)
