"""Attribute values in their stored form, without secrets. Pure.

{"$b": base64} are bytes and read as text; a name that begins with "$" has one more of them (stored.py).
"""

from __future__ import annotations

import base64
from typing import Final

import orjson

from spantree_exporter.redaction.notes import REDACTED, Notes
from spantree_exporter.redaction.rules import KeyRule
from spantree_exporter.redaction.text import TextRedactor
from spantree_exporter.redaction.verify import is_nothing
from spantree_exporter.span import Attributes, JsonValue
from spantree_exporter.stored import stored_bytes, stored_key


def redacted_attributes(attributes: Attributes, redactor: TextRedactor, notes: Notes, where: str) -> Attributes:
    """`attributes` without secrets, in their order; themselves where there are none."""
    kept: Attributes = {}
    before = notes.kinds.total()
    for stored, value in attributes.items():
        if stored == REDACTED and where in OWNERS:
            kept[stored] = value
            continue
        key = stored[1:] if stored.startswith("$") else stored
        shown, kinds = redactor.text(key, notes.effort)
        at = f"{where}.{shown}"
        notes.add(kinds, at)
        rule = redactor.words.of(key.encode().decode("latin-1"))
        if rule is not None and not is_none(value):
            notes.add([rule.kind], at)
            if (instead := redactor.instead(rule, secret_of(value))) == "":
                continue
            kept[stored_key(shown)] = instead
        else:
            kept[stored_key(shown)] = redacted_value(value, redactor, notes, at)
    return attributes if notes.kinds.total() == before else kept


OWNERS: Final = frozenset({"attributes", "resource.attributes", "scope.attributes"})
"""The places where the attribute with our own notes stands."""


def redacted_value(value: JsonValue, redactor: TextRedactor, notes: Notes, where: str) -> JsonValue:
    """`value`, at most 64 levels deep, without secrets."""
    if isinstance(value, str):
        text, kinds = redactor.text(value, notes.effort)
        notes.add(kinds, where)
        return text
    if isinstance(value, list):
        items: list[JsonValue] = []
        flag: KeyRule | None = None
        for item in value:
            if flag is not None and isinstance(item, str) and not is_nothing(item):
                notes.add([flag.kind], where)
                items.append(redactor.instead(flag, item.encode("utf-8", "surrogatepass")))
            else:
                items.append(redacted_value(item, redactor, notes, where))
            flag = flag_rule(item, redactor) if isinstance(item, str) else None
        return items
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(tagged := value.get("$b"), str):
            sent = base64.b64decode(tagged)
            redacted, kinds = redactor.of_bytes(sent, notes.effort)
            notes.add(kinds, where)
            return stored_bytes(redacted) if kinds else value
        if len(value) == 1 and "$f" in value:
            return value
        return redacted_attributes(value, redactor, notes, where)
    return value


def flag_rule(argument: str, redactor: TextRedactor) -> KeyRule | None:
    """The rule by which the argument after this one is a secret: --password."""
    if not argument.startswith("-") or len(argument) > 100:
        return None
    return redactor.words.of(argument.lstrip("-").encode("utf-8", "surrogatepass").decode("latin-1"))


def is_none(value: JsonValue) -> bool:
    """Whether what a key of a secret has is none."""
    if isinstance(value, str):
        return is_nothing(value)
    if isinstance(value, list):
        return all(is_none(item) for item in value)
    return value is None or isinstance(value, bool) or value == {}


def secret_of(value: JsonValue) -> bytes:
    """What is hashed of a value: equal for a text by itself and one that is alone in a list, as headers are."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, list) and len(value) == 1:
        return secret_of(value[0])
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
