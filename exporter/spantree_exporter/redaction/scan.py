"""Whether bytes may hold a secret at all: one look, for nearly all hold none. Never says no where a rule would match.

By RE2 where it is installed (google-re2; in the collector it is): a nanosecond a byte. Otherwise by stems that every
match has one of, found at some fourteen nanoseconds a byte, and by Python's `re` where there is one. The three forms
that texts are looked for in:

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
_OF_JSON: Final = (
    # Letters that were escaped, and bytes.
    r"\\u00[2-7]|\"bytes_?[vV]alue\"|\"\$b\""
)
# Whatever a rule of ours matches has one of these, but for those that only a person turns on.
_STEMS: Final = (
    b"pass", b"pwd", b"secret", b"token", b"key", b"credential", b"authorization", b"cookie", b"jsessionid",
    b"phpsessid", b"jwt", b"://", b":\\", b"sig", b"bearer", b"basic", b"eyj", b"akia", b"asia", b"gh", b"glpat-",
    b"xox", b"xapp-", b"hooks.slack", b"k-", b"k_", b"aiza", b"ya29.", b"hf_", b"npm_", b"lin_api_", b"glsa_",
    b"whsec_", b"sntrys_", b"dop_v1_", b"shp", b"spt_", b"pypi-", b"sg.", b"session", b"\\u00", b"bytes", b'"$b"',
    b"-credential=", b"-security-token=",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scans:
    """The looks at what is sent as protobuf, at what is sent as JSON, and at what is stored."""

    wire: Scan
    json: Scan
    stored: Scan


def scans(rules: Rules, *, fast: bool = True) -> Scans:
    """The looks for `rules`. `fast`: by RE2 where that is installed."""
    words = words_pattern(rules)
    wire = "|".join((_keys(words), *dict.fromkeys(rule.scan for rule in rules.texts if not rule.own)))
    in_json = "|".join((wire, _named_before(words), _OF_JSON))
    if fast and re2_or_none() is not None:
        look = _by_re2
    else:
        own_keys = any(rule.whole for rule in rules.keys)
        look = _by_re if own_keys or any(rule.kind in _WITHOUT_STEM for rule in rules.texts) else _by_stems
    own = [compiled(rule.scan) for rule in rules.texts if rule.own]
    if not own:
        return Scans(look(wire), look(in_json), look(in_json))
    # What people look for could be hidden by escapes: JSON is then always read.
    of_wire = look(wire)
    return Scans(lambda body: of_wire(body) or any(one.search(body) is not None for one in own), _always, _always)


def _always(body: bytes) -> bool:
    return True


def _keys(words: str) -> str:
    """A key of a secret, and what says that it is one: the tag of its value, a quote and a colon, =, a flag."""
    follows = rf"[\x12>]|{_QUOTE}{_SPACE}(?:{_IS}|,{_SPACE}{_QUOTE}value)|{_SPACE}{_IS}|%3[dD]|\\+u003[dD]"
    return rf"(?i:(?:{words})(?:{follows})|-[\w-]*(?:{words})(?:\s|\\+[nrt]|{_QUOTE}))"


def _named_before(words: str) -> str:
    """{"value": ..., "key": "password"}, and attributes whose key ends the object."""
    return rf"(?i:\"key\"{_SPACE}:{_SPACE}\"[^\"]*(?:{words})\")"


_WITHOUT_STEM: Final = frozenset({"card", "email", "number"})


def _by_re2(pattern: str) -> Scan:
    search: Any = compiled_scan(pattern).search
    return lambda body: search(body) is not None


def _by_re(pattern: str) -> Scan:
    search = re.compile(pattern.encode()).search
    return lambda body: search(body) is not None


def _by_stems(pattern: str) -> Scan:
    search = re.compile(pattern.encode()).search

    def look(body: bytes) -> bool:
        lower = body.lower()
        return any(stem in lower for stem in _STEMS) and search(body) is not None

    return look
