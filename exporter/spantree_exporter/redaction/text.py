"""Texts without the secrets in them. Pure: equal texts give equal ones.

A text is worked on as the bytes of its UTF-8, each a character (ISO 8859-1): places found by RE2 and by Python's `re`
are then the same, and bytes that are no UTF-8 stay what they are.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import Any, Final, TypeAlias

from spantree_exporter.redaction.effort import TOO_MANY, Effort, TooManyPlaces
from spantree_exporter.redaction.fields import FieldFinder, FoundValue
from spantree_exporter.redaction.key_words import KeyWords, words_pattern
from spantree_exporter.redaction.linear import compiled, compiled_set
from spantree_exporter.redaction.rules import PEM, KeyRule, Rules, TextRule
from spantree_exporter.redaction.verify import is_nothing

MASKED: Final = "<redacted>"
_HASH_DIGITS: Final = 16
_PEM_END: Final = "-----END"
RULE_FAILED: Final = "rule_failed"
"""The kind of a text that went as a whole since a rule could not be applied to it."""


# (text, kinds that are found: gains, effort) -> the text without what the step is for.
_Step: TypeAlias = Callable[[str, dict[str, None], Effort], str]


class TextRedactor:
    """Applies rules to texts. Any thread may use it."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.words = KeyWords(rules)
        self._fields = FieldFinder(words_pattern(rules), self.words)
        steps: list[tuple[str, _Step]] = []
        for rule in rules.texts:
            if rule.pattern == PEM.pattern:
                steps.append((rule.scan, self._pem_step(rule)))
            elif not rule.own:
                steps.append((rule.scan, self._pattern_step(rule)))
        # Last: a value that has a shape of its own is told by that.
        steps.append((self._fields.scan, self._without_fields))
        self._steps = [step for _, step in steps]
        self._steps_of = compiled_set([scan for scan, _ in steps])
        self._own: list[tuple[Any, TextRule]] = [(compiled(rule.pattern), rule) for rule in rules.texts if rule.own]

    def text(self, text: str, effort: Effort | None = None) -> tuple[str, list[str]]:
        """`text` without secrets, and the kinds of those that there were, each once."""
        redacted, kinds = self.of_bytes(text.encode("utf-8", "surrogatepass"), effort)
        return (redacted.decode("utf-8", "surrogatepass"), kinds) if kinds else (text, kinds)

    def of_bytes(self, sent: bytes, effort: Effort | None = None) -> tuple[bytes, list[str]]:
        """As `text`, for bytes that are one, or may be. `effort` is shared with what belongs together.

        A rule that fails costs the whole text, and so does one place more than may be looked at: neither is a secret
        let through, nor lost what the text belongs to.
        """
        kinds: dict[str, None] = {}
        effort = Effort() if effort is None else effort
        try:
            numbers: Iterable[int] = range(len(self._steps)) if self._steps_of is None else self._steps_of(sent)
            text = sent.decode("latin-1")
            for number in sorted(numbers):
                text = self._steps[number](text, kinds, effort)
            for pattern, rule in self._own:
                text = self._without_own(text, pattern, rule, kinds, effort)
        except TooManyPlaces:
            return MASKED.encode(), [TOO_MANY]
        except Exception:
            return MASKED.encode(), [RULE_FAILED]
        return (text.encode("latin-1") if kinds else sent), list(kinds)

    def instead(self, rule: KeyRule | TextRule, secret: bytes) -> str:
        """What stands for `secret`."""
        mode = self.rules.mode_of(rule)
        if mode == "drop":
            return ""
        if mode == "hash":
            return f"<redacted:{hmac.new(self.rules.hash_key, secret, sha256).hexdigest()[:_HASH_DIGITS]}>"
        return rule.mask if isinstance(rule, TextRule) else MASKED

    def _pem_step(self, rule: TextRule) -> _Step:
        begin = re.compile(rule.pattern)

        def without_pem(text: str, kinds: dict[str, None], effort: Effort) -> str:
            return self._replaced(text, rule, _keys_in_pem(begin, text), kinds, effort)

        return without_pem

    def _pattern_step(self, rule: TextRule) -> _Step:
        pattern = re.compile(rule.pattern, re.ASCII)

        def without_pattern(text: str, kinds: dict[str, None], effort: Effort) -> str:
            return self._replaced(text, rule, _found(pattern, text), kinds, effort)

        return without_pattern

    def _without_own(self, text: str, pattern: Any, rule: TextRule, kinds: dict[str, None], effort: Effort) -> str:
        group = 1 if pattern.groups else 0
        found = (match.span(group) for match in pattern.finditer(text.encode("latin-1")))
        return self._replaced(text, rule, ((start, end) for start, end in found if start < end), kinds, effort)

    def _without_fields(self, text: str, kinds: dict[str, None], effort: Effort) -> str:
        kept: list[str] = []
        at = 0
        for found in self._fields.find(text, effort):
            kinds[found.rule.kind] = None
            start, instead = self._of_field(text, found)
            kept += (text[at:start], instead)
            at = found.end
        return "".join((*kept, text[at:])) if kept else text

    def _of_field(self, text: str, found: FoundValue) -> tuple[int, str]:
        instead = self.instead(found.rule, text[found.start : found.end].encode("latin-1"))
        if not found.bare:
            return found.start, instead
        if found.quote:
            return found.start, found.quote + instead + found.quote
        # An empty value would take what follows it for its own.
        return (found.start, instead) if instead else (found.key_start, "")

    def _replaced(
        self,
        text: str,
        rule: TextRule,
        places: Iterator[tuple[int, int]],
        kinds: dict[str, None],
        effort: Effort,
    ) -> str:
        kept: list[str] = []
        at = 0
        for start, end in places:
            effort.spend()
            secret = text[start:end]
            if start < at or is_nothing(secret) or (rule.verify is not None and not rule.verify(secret)):
                continue
            kept += (text[at:start], self.instead(rule, secret.encode("latin-1")))
            at = end
            kinds[rule.kind] = None
        return "".join((*kept, text[at:])) if kept else text


_PEM_LAST: Final = re.compile(r"-----END[A-Z0-9 ]{0,60}-{0,5}")


def _keys_in_pem(begin: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    at = 0
    while (match := begin.search(text, at)) is not None:
        end = text.find(_PEM_END, match.end())
        last = _PEM_LAST.match(text, end) if end >= 0 else None
        # One that was cut goes on to the end.
        at = len(text) if last is None else last.end()
        yield match.start(), at


def _found(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    has_group = "s" in pattern.groupindex
    for match in pattern.finditer(text):
        yield match.span("s") if has_group and match.start("s") >= 0 else match.span()
