"""Whether bytes may hold a secret at all: one look, for nearly all hold none. Never says no where a rule would match.

By RE2 where it is installed (google-re2; in the collector it is): a nanosecond a byte. Otherwise by stems that whatever
a rule matches has one of, and only where there is one by Python's `re`, which takes a hundred times as long (`Stems`).
The three forms that texts are looked for in:

    wire      OTLP in protobuf: texts as they are, a key is followed by the tag of its value
    json      OTLP in JSON: texts escaped, bytes in base64
    stored    attributes as columns have them: JSON by orjson, bytes as {"$b": base64}
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from spantree_exporter.redaction.key_words import words_pattern
from spantree_exporter.redaction.linear import compiled, compiled_scan, re2_or_none
from spantree_exporter.redaction.rules import Rules

Scan: TypeAlias = Callable[[bytes], bool]

# White space, and how a string in JSON has it.
_SPACE: Final = r"(?:\s|\\+[nrtf])*"
_QUOTE: Final = r"\\*[\"']"
_IS: Final = r"(?:=|:)"
# Letters that were escaped, and bytes.
_ESCAPED: Final = r"\\u00[2-7]"
_IN_BASE64: Final = r"\"bytes_?[vV]alue\"|\"\$b\""


@dataclass(frozen=True, slots=True)
class Scans:
    """The looks at what is sent as protobuf, at what is sent as JSON, and at what is stored."""

    wire: Scan
    json: Scan
    stored: Scan


def scans(rules: Rules, *, fast: bool = True) -> Scans:
    """The looks for `rules`. `fast`: by RE2 where that is installed."""
    words = words_pattern(rules)
    texts = {rule.scan: rule.stems for rule in rules.texts if not rule.own}
    in_json = {_named_before(words): KEY_STEMS, _ESCAPED: (b"\\u00",), _IN_BASE64: (b'"bytes', b'"$b"')}
    if fast and re2_or_none() is not None:
        look: Callable[[dict[str, tuple[bytes, ...]]], Scan] = _by_re2
    else:
        # Of what keys a person adds no stem is known.
        stems = () if any(rule.whole for rule in rules.keys) else KEY_STEMS
        look = Stems(_keys(words), stems).look
    of_keys: dict[str, tuple[bytes, ...]] = {_keys(words): ()} if look is _by_re2 else {}
    texts = of_keys | texts
    texts_and_json, of_stored = texts | in_json, texts | {_IN_BASE64: in_json[_IN_BASE64]}
    own = [compiled(rule.scan) for rule in rules.texts if rule.own]
    if not own:
        return Scans(look(texts), look(texts_and_json), look(of_stored))
    # What people look for could be hidden by escapes: JSON is then always read.
    of_wire = look(texts)
    return Scans(lambda body: of_wire(body) or any(one.search(body) is not None for one in own), _always, _always)


def _always(body: bytes) -> bool:
    return True


def _keys(words: str) -> str:
    """A key of a secret, and what says that it is one: the tag of its value, a quote and a colon, =, a flag."""
    follows = rf"[\x12>]|{_QUOTE}{_SPACE}(?:{_IS}|,{_SPACE}{_QUOTE}value)|{_SPACE}{_IS}|%3[dD]|\\+u003[dD]"
    follows += r"|%22(?:%20|\+)?%3[aA]"
    return rf"(?i:(?:{words})(?:{follows})|-[\w-]*(?:{words})(?:\s|\\+[nrt]|{_QUOTE}))"


def _named_before(words: str) -> str:
    """{"value": ..., "key": "password"}, and attributes whose key ends the object."""
    return rf"(?i:\"key\"{_SPACE}:{_SPACE}\"[^\"]*(?:{words})\")"


def _by_re2(patterns: dict[str, tuple[bytes, ...]]) -> Scan:
    search: Any = compiled_scan("|".join(patterns)).search
    return lambda body: search(body) is not None


class Stems:
    """The look without RE2.

    Python's `re` is fast at patterns that begin with a literal: after each stem of a key is looked for what makes it a
    key; only around such a place, and where a text has a stem of a rule, the rule itself is tried.
    """

    def __init__(self, keys: str, stems: tuple[bytes, ...]) -> None:
        self._keys = re.compile(keys.encode())
        self._stems = [
            (stem, re.compile(stem + (b"" if stem in _NO_PLURAL else _ENDINGS) + _AFTER_STEM)) for stem in stems
        ]

    def look(self, patterns: dict[str, tuple[bytes, ...]]) -> Scan:
        """Whether a key of a secret or one of `patterns`, each with its stems, is in a body."""
        rules = [(stems, re.compile(pattern.encode())) for pattern, stems in patterns.items()]

        def look(body: bytes) -> bool:
            lower = body.lower()
            if self._has_key(body, lower):
                return True
            return any(
                (not stems or any(stem in lower for stem in stems)) and pattern.search(body) is not None
                for stems, pattern in rules
            )

        return look

    def _has_key(self, body: bytes, lower: bytes) -> bool:
        if not self._stems:
            return self._keys.search(body) is not None
        for stem, after in self._stems:
            if stem not in lower:
                continue
            for found in after.finditer(lower):
                start = found.start()
                if found[1] is not None and _FLAG.search(lower, max(0, start - _BEFORE), start) is None:
                    continue
                if self._keys.search(body, max(0, start - _BEFORE), found.end() + _BEHIND) is not None:
                    return True
        return False


KEY_STEMS: Final = (
    b"pass", b"pwd", b"secret", b"token", b"key", b"credential", b"authorization", b"cookie", b"jsessionid",
    b"phpsessid", b"jwt", b"session",
)  # fmt: skip
"""What the keys of all rules of ours have one of."""
_NO_PLURAL: Final = frozenset({b"token"})
# Whatever may stand between a stem and what tells that it is a key, more than any rule allows; the group: white space,
# which tells it of a flag only.
_AFTER_STEM: Final = (
    rb"(?:[._-]?[a-z0-9]{3,12})?(?:[._-]?\d{1,3})?"
    rb"(?:\s*[=:]|[\x12>\"']|\\+[u\"']|%3d|%22|(\s|\\+[nrt]))"
)
_ENDINGS: Final = rb"(?:[._-]?word|wd|[._-]?phrase|code|[._-]?id)?s?"
_FLAG: Final = re.compile(rb"-[\w-]*\Z")
_BEFORE: Final = 100
# Of a flag it is white space that tells it, of JSON what comes after that.
_BEHIND: Final = 100
