"""Which keys are a secret's: attributes, fields of JSON, headers, parameters, flags. Pure.

A key is given as the bytes of its UTF-8, each a character, as text.py has them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from spantree_exporter.redaction.rules import KeyRule, Rules

# What may stand behind the word that tells: password_hash, apiKey2, http.request.header.cookie.0
_AFTER: Final = (
    r"(?:[._-]?(?:hash|value|text|string|b64|base64|encoded|raw|old|new|current|confirm|confirmation|header))?"
)
_NUMBER: Final = r"(?:[._-]?\d{1,3})?"
# Tokens that are words of a language or places in a list.
_NO_SECRET: Final = re.compile(
    r"(?:^|[^a-z])(?:(?:next|prev|previous|page|pages|continuation|pagination|cursor|sync|delta|eos|bos|eot|pad|padding"
    r"|unk|sep|cls|mask|stop|special|decoder|cancellation|per|image|text|audio|first|last|prompt|completion)[._-]?){1,3}"
    r"token(?:[._-]?(?:text|value|string))?\Z",
    re.IGNORECASE,
)
_KEY_CHARS: Final = 200
_CACHED_KEYS: Final = 20_000


def words_pattern(rules: Rules) -> str:
    """What a key ends with, of every rule: in the syntax that Python and RE2 share, to be read in any case."""
    return "|".join(_ending(rule) for rule in rules.keys) or r"[^\s\S]"


def _ending(rule: KeyRule) -> str:
    if rule.whole:
        return rule.words
    return rf"(?:{rule.words}){'s?' if rule.plural else ''}{_AFTER}{_NUMBER}"


class KeyWords:
    """Tells the rule of a key. Any thread may use it."""

    def __init__(self, rules: Rules) -> None:
        self._whole = [(re.compile(rule.words, re.IGNORECASE | re.ASCII), rule) for rule in rules.keys if rule.whole]
        endings = [rule for rule in rules.keys if not rule.whole]
        self._rules = endings
        self._ending = re.compile(
            "|".join(f"(?P<k{number}>{_ending(rule)})\\Z" for number, rule in enumerate(endings)) or r"[^\s\S]",
            re.IGNORECASE | re.ASCII,
        )
        self._keep = [
            re.compile(".*".join(re.escape(part) for part in one.split("*")), re.IGNORECASE | re.DOTALL)
            for one in (kept.encode().decode("latin-1") for kept in rules.keep)
        ]
        self.rule_of = lru_cache(_CACHED_KEYS)(self._rule_of)

    def of(self, key: str) -> KeyRule | None:
        """The rule by which what is called `key` is a secret, None where it is none."""
        # The end of a long one tells, and only what is short is worth remembering.
        return self.rule_of(key) if len(key) <= _KEY_CHARS else self._rule_of(key[-_KEY_CHARS:])

    def _rule_of(self, key: str) -> KeyRule | None:
        for pattern, rule in self._whole:
            if pattern.fullmatch(key):
                return self._unless_kept(key, rule)
        found = self._ending.search(key)
        if found is None or found.lastgroup is None or _NO_SECRET.search(key):
            return None
        return self._unless_kept(key, self._rules[int(found.lastgroup[1:])])

    def _unless_kept(self, key: str, rule: KeyRule) -> KeyRule | None:
        return None if any(pattern.fullmatch(key) for pattern in self._keep) else rule
