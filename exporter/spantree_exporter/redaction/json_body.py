"""OTLP requests in JSON without secrets. Every text is looked at, whatever field it is in.

Read and written anew, by the readers that the decoder uses, so that what it reads is the same but for the secrets.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter
from typing import Any, Final

import orjson

from spantree_exporter.otlp import deep_json
from spantree_exporter.redaction.notes import REDACTED, Notes
from spantree_exporter.redaction.protobuf import TOO_DEEP
from spantree_exporter.redaction.rules import KeyRule
from spantree_exporter.redaction.scan import Scan
from spantree_exporter.redaction.text import MASKED, RULE_FAILED, TextRedactor
from spantree_exporter.redaction.values import flag_rule, is_none, secret_of

# Of 64 levels of values each has four of JSON; no request that spantree reads whole has more.
_DEPTH_MAX: Final = 280
_ITEMS: Final = frozenset({"spans", "logRecords", "log_records"})
_OWNERS: Final = {
    "resource": "resource.",
    "scope": "scope.",
    "instrumentationLibrary": "scope.",
    "instrumentation_library": "scope.",
}
# Of which only the ids are no text, and numbers that are written as one.
_IDS: Final = frozenset({"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"})
_ID: Final = re.compile(r"[0-9A-Fa-f]{16}|[0-9A-Fa-f]{32}|")
_NUMBER: Final = re.compile(r"[+-]?\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,4})?")
_NUMBERS: Final = frozenset(
    {"intValue", "int_value", "doubleValue", "double_value", "startTimeUnixNano", "start_time_unix_nano",
     "endTimeUnixNano", "end_time_unix_nano", "timeUnixNano", "time_unix_nano", "observedTimeUnixNano",
     "observed_time_unix_nano"}
)  # fmt: skip
_BYTES: Final = frozenset({"bytesValue", "bytes_value"})
# Steps of the way to a text that say nothing, and those that have another name in notes.
_PLACES: Final = {
    "traceState": "trace_state", "severityText": "severity_text", "eventName": "event_name",
    "schemaUrl": "schema_url", "traceId": "trace_id", "spanId": "span_id", "parentSpanId": "parent_span_id",
}  # fmt: skip
_SILENT: Final = frozenset(
    {"value", "stringValue", "string_value", "arrayValue", "array_value", "kvlistValue", "kvlist_value", "values",
     "bytesValue", "bytes_value"}
)  # fmt: skip
_GONE: Final = object()


class JsonRedactor:
    """Rewrites bodies. Any thread may use it."""

    def __init__(self, redactor: TextRedactor, scan: Scan) -> None:
        self._redactor = redactor
        self._scan = scan

    def body(self, body: bytes) -> tuple[bytes, Counter[str]]:
        """`body` without secrets and how many there were of each kind; itself where there were none.

        What is no JSON is looked at as text.
        """
        kinds: Counter[str] = Counter()
        if not self._scan(body):
            return body, kinds
        try:
            document, write = _read(body)
        except ValueError:
            redacted, found = self._redactor.of_bytes(body)
            kinds.update(found)
            return redacted, kinds
        redacted = self._walk(document, Notes(kinds), "", 0)
        return (write(redacted) if kinds else body), kinds

    def _walk(self, value: Any, notes: Notes, where: str, depth: int, name: str = "") -> Any:
        if isinstance(value, str):
            return self._text(value, notes, where, name)
        if isinstance(value, dict | list):
            if depth > _DEPTH_MAX:
                return self._deep(value, notes, where)
            if isinstance(value, list):
                return self._list(value, notes, where, depth, name)
            return self._object(value, notes, where, depth)
        return value

    def _text(self, text: str, notes: Notes, where: str, name: str) -> str:
        if (name in _IDS and _ID.fullmatch(text)) or (name in _NUMBERS and _NUMBER.fullmatch(text)):
            return text
        if name in _BYTES:
            try:
                sent = base64.b64decode(
                    text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True
                )
            except (binascii.Error, ValueError):
                pass
            else:
                redacted, kinds = self._redactor.of_bytes(sent, notes.effort)
                notes.add(kinds, where)
                return base64.b64encode(redacted).decode("ascii") if kinds else text
        redacted_text, kinds = self._redactor.text(text, notes.effort)
        notes.add(kinds, where)
        return redacted_text

    def _list(self, items: list[Any], notes: Notes, where: str, depth: int, name: str) -> list[Any]:
        if name in _ITEMS:
            return [self._owner(item, notes, "", depth + 1, bare=True) for item in items]
        kept: list[Any] = []
        flag: KeyRule | None = None
        for item in items:
            text = _text_of(item)
            if flag is not None and text and not is_none(text):
                notes.add([flag.kind], where)
                new: Any = {"stringValue": self._redactor.instead(flag, text.encode("utf-8", "surrogatepass"))}
            else:
                new = self._walk(item, notes, where, depth + 1)
            flag = flag_rule(text, self._redactor) if text else None
            if new is not _GONE:
                kept.append(new)
        return kept

    def _object(self, sent: dict[str, Any], notes: Notes, where: str, depth: int) -> Any:
        # A name that is empty may be left out.
        key = sent.get("key", "" if "value" in sent else None)
        if isinstance(key, str) and ("value" in sent or len(sent) == 1):
            return self._pair(sent, key, notes, where, depth)
        kept: dict[str, Any] = {}
        for name, value in sent.items():
            if name in _OWNERS and isinstance(value, dict):
                kept[name] = self._owner(value, notes, _OWNERS[name], depth + 1)
                continue
            shown, kinds = self._redactor.text(name, notes.effort)
            at = _place(where, shown)
            notes.add(kinds, at)
            rule = self._redactor.words.of(name.encode("utf-8", "surrogatepass").decode("latin-1"))
            if rule is not None and not is_none(value):
                # No field of OTLP is called so: nobody reads it.
                notes.add([rule.kind], at)
                kept[shown] = self._redactor.instead(rule, _secret_of(value))
            else:
                kept[shown] = self._walk(value, notes, at, depth + 1, name)
        return kept

    def _pair(self, sent: dict[str, Any], key: str, notes: Notes, where: str, depth: int) -> Any:
        shown, kinds = self._redactor.text(key, notes.effort)
        where = f"{where}.{shown}"
        notes.add(kinds, where)
        kept = {**sent, "key": shown} if "key" in sent else dict(sent)
        value = sent.get("value")
        rule = self._redactor.words.of(key.encode("utf-8", "surrogatepass").decode("latin-1"))
        plain = _plain(value)
        if rule is not None and not is_none(plain):
            notes.add([rule.kind], where)
            if (instead := self._redactor.instead(rule, _secret_of(plain))) == "":
                return _GONE
            kept["value"] = {"stringValue": instead}
        for name in sent:
            if name != "key" and (name != "value" or kept.get("value") is value):
                kept[name] = self._walk(sent[name], notes, where, depth + 1, name)
        return kept

    def _owner(self, sent: Any, frames: Notes, prefix: str, depth: int, *, bare: bool = False) -> Any:
        """A span, a log record, a resource or a scope: tells by an attribute what was redacted of it."""
        if not isinstance(sent, dict):
            return self._walk(sent, frames, prefix, depth)
        notes = Notes(frames.kinds, frames.effort)
        try:
            attributes = sent.get("attributes")
            pairs = attributes if isinstance(attributes, list) else []
            told = [pair for pair in pairs if _is_mark(pair)]
            others = {**sent, "attributes": [pair for pair in pairs if not _is_mark(pair)]} if told else sent
            new = self._object(others, notes, prefix.rstrip("."), depth)
            if not notes.changed:
                return sent
            for pair in told:
                value = _plain(pair.get("value"))
                notes.extend(value if isinstance(value, list) else ())
        except Exception:
            notes.add([RULE_FAILED], "all")
            new = {name: value for name, value in sent.items() if _is_bare(name, value)} if bare else {}
        mark = {
            "key": REDACTED,
            "value": {"arrayValue": {"values": [{"stringValue": text} for text in notes.texts()]}},
        }
        rest = new.get("attributes")
        return {**new, "attributes": [mark, *(rest if isinstance(rest, list) else ())]}

    def _deep(self, value: Any, notes: Notes, where: str) -> Any:
        if not self._scan(deep_json.dumps_any(value)):
            return value
        notes.add([TOO_DEEP], where)
        return {"stringValue": MASKED}


def _read(body: bytes) -> tuple[Any, Any]:
    """The document, and what writes such a one: lone halves of pairs and NaN only Python's json reads and writes."""
    try:
        return orjson.loads(body), deep_json.dumps_any
    except orjson.JSONDecodeError:
        return deep_json.loads_any(body), _dump


def _dump(document: Any) -> bytes:
    try:
        return json.dumps(document, separators=(",", ":")).encode("ascii")
    except RecursionError:
        return deep_json.dumps(document).encode("ascii")


def _place(where: str, name: str) -> str:
    if name in _SILENT:
        return where
    step = "status_message" if name == "message" and where == "status" else _PLACES.get(name, name)
    if step == "status_message":
        return step
    return f"{where}.{step}" if where else step


def _text_of(value: Any) -> str:
    text = value.get("stringValue", value.get("string_value")) if isinstance(value, dict) else None
    return text if isinstance(text, str) else ""


def _plain(value: Any, depth: int = 0) -> Any:
    """What an AnyValue in JSON holds, so far as is needed to tell and to hash it."""
    if not isinstance(value, dict) or depth > 64:
        return value
    for name, content in value.items():
        if name in ("arrayValue", "array_value"):
            values = content.get("values") if isinstance(content, dict) else None
            return [_plain(one, depth + 1) for one in values] if isinstance(values, list) else []
        if name in ("kvlistValue", "kvlist_value"):
            pairs = content.get("values") if isinstance(content, dict) else None
            found = [pair for pair in pairs if isinstance(pair, dict)] if isinstance(pairs, list) else []
            return {str(pair.get("key")): _plain(pair.get("value"), depth + 1) for pair in found}
        if name in ("intValue", "int_value") and isinstance(content, str) and _NUMBER.fullmatch(content):
            return int(float(content)) if not content.lstrip("+-").isdigit() else int(content)
        if name in _BYTES:
            return {"$b": content}
        if content is not None:
            return content
    return None


def _secret_of(value: Any) -> bytes:
    try:
        return secret_of(value)
    except (TypeError, ValueError, RecursionError):
        return deep_json.dumps_any(value)


def _is_mark(pair: Any) -> bool:
    return isinstance(pair, dict) and pair.get("key") == REDACTED


def _is_bare(name: str, value: Any) -> bool:
    """Whether a field of a span is no text."""
    if isinstance(value, str):
        return (name in _IDS and _ID.fullmatch(value) is not None) or (
            name in _NUMBERS and _NUMBER.fullmatch(value) is not None
        )
    return isinstance(value, int | float) or value is None
