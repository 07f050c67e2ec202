"""No secret on the disk: what is sent and what is made in this process, without passwords, tokens, keys and cookies.

rules.py               what counts as a secret: rules of ours, a person's file
key_words.py           by what a key is called
text.py fields.py      within a text
scan.py                whether bytes may hold one at all
protobuf.py json_body.py   OTLP requests
values.py spans.py     the stored form
"""

from __future__ import annotations

from collections import Counter

from spantree_exporter.log_record import LogRecord
from spantree_exporter.otlp.decode import JSON
from spantree_exporter.otlp.decode_logs import LOGS_JSON
from spantree_exporter.otlp.signals import is_logs
from spantree_exporter.redaction.json_body import JsonRedactor
from spantree_exporter.redaction.notes import Notes
from spantree_exporter.redaction.protobuf import ProtobufRedactor
from spantree_exporter.redaction.rules import Rules, rules_of
from spantree_exporter.redaction.scan import scans
from spantree_exporter.redaction.spans import redacted_log, redacted_resource, redacted_scope, redacted_span
from spantree_exporter.redaction.text import TextRedactor
from spantree_exporter.redaction.values import redacted_value
from spantree_exporter.span import JsonValue, Resource, Scope, Span

__all__ = ["Redactor", "redactor_of"]


class Redactor:
    """The rules, applied to whatever holds texts. Pure; any thread may use it."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.texts = TextRedactor(rules)
        self.scans = scans(rules)
        self._protobuf = ProtobufRedactor(self.texts, self.scans.wire)
        self._json = JsonRedactor(self.texts, self.scans.json)

    def may_hold_secrets(self, body: bytes, encoding: str) -> bool:
        """Whether `body` has to be read: False where nothing in it can be a secret."""
        return (self.scans.json if encoding in (JSON, LOGS_JSON) else self.scans.wire)(body)

    def body(self, body: bytes, encoding: str) -> tuple[bytes, Counter[str]]:
        """`body`, a request in `encoding` (signals.py), without secrets; how many there were of each kind.

        Itself where there were none. Equal bodies give equal ones.
        """
        if encoding in (JSON, LOGS_JSON):
            return self._json.body(body)
        return self._protobuf.body(body, logs=is_logs(encoding))

    def span(self, span: Span, kinds: Counter[str] | None = None) -> Span | None:
        """A span in its stored form without secrets, its JSON to be made anew; None where it has none.

        Here and below `kinds` gains how many there were of each kind.

        Its resource and its scope are looked at by themselves.
        """
        stored = (span.name, span.status_message, span.trace_state)
        if not self.scans.stored(
            b"\n".join((*map(_utf8, stored), span.attributes_json, span.events_json or b"", span.links_json or b""))
        ):
            return None
        return redacted_span(span, self.texts, _counter(kinds))

    def log(self, record: LogRecord, kinds: Counter[str] | None = None) -> LogRecord | None:
        """As `span`, for a log record."""
        stored = (record.severity_text, record.event_name)
        if not self.scans.stored(b"\n".join((*map(_utf8, stored), record.body_json or b"", record.attributes_json))):
            return None
        return redacted_log(record, self.texts, _counter(kinds))

    def resource(self, resource: Resource, kinds: Counter[str] | None = None) -> Resource | None:
        """A resource without secrets, under the id of what is left; None where it has none."""
        return redacted_resource(resource, self.texts, _counter(kinds))

    def scope(self, scope: Scope, kinds: Counter[str] | None = None) -> Scope | None:
        """A scope without secrets; None where it has none."""
        return redacted_scope(scope, self.texts, _counter(kinds))

    def value(self, value: JsonValue) -> tuple[JsonValue, list[str]]:
        """JSON of any kind without secrets, and the kinds of those that there were."""
        notes = Notes()
        redacted = redacted_value(value, self.texts, notes, "")
        return redacted, list(notes.kinds.elements())


def _counter(kinds: Counter[str] | None) -> Counter[str]:
    return Counter() if kinds is None else kinds


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def redactor_of(setting: str, hash_key: str = "") -> Redactor | None:
    """What SPANTREE_REDACT and SPANTREE_REDACT_HASH_KEY ask for, None for "off". Raises ConfigError."""
    rules = rules_of(setting, hash_key)
    return None if rules is None else Redactor(rules)
