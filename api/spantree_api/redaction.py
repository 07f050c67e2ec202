"""Texts of spans without what must not leave: keys, tokens, passwords, addresses of people. Pure.

Every pattern is linear: its repetitions are of bounded length or cannot overlap with what follows them.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

REDACTED: Final = "<redacted>"

_PATTERNS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        (
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[^-]{0,10000}(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?",
            REDACTED,
        ),
        (r"\b(bearer|basic|digest)\s{1,4}[\w.~+/=-]{8,4000}", rf"\1 {REDACTED}"),
        (r"\beyJ[\w-]{6,4000}\.[\w-]{4,4000}\.?[\w-]{0,4000}", REDACTED),  # JSON Web Token
        (r"\b(?:sk|pk|rk)[-_][\w-]{12,400}", REDACTED),  # OpenAI, Anthropic, Stripe
        (r"\bgh[pousr]_\w{16,400}|\bgithub_pat_\w{16,400}|\bglpat-[\w-]{16,400}", REDACTED),
        (r"\bxox[abeoprs]-[\w-]{8,400}", REDACTED),  # Slack
        (r"\b(?:AKIA|ASIA)[0-9A-Z]{12,40}", REDACTED),  # AWS
        (r"\bAIza[\w-]{20,100}", REDACTED),  # Google
        (r"\bhf_[A-Za-z0-9]{16,100}", REDACTED),  # Hugging Face
        (r"(://[^\s/:@]{0,200}):[^\s/@]{1,200}@", rf"\1:{REDACTED}@"),
        (
            r"(pass(?:word|wd|phrase)?|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|client[_-]?secret"
            r"|authorization|cookie|session[_-]?id|credentials?)"
            r"([\"']?\s{0,4}(?:=>|[=:])\s{0,4}[\"']?)(?!<redacted>|bearer|basic|digest)[^\s\"',;&}]{2,4000}",
            rf"\1\2{REDACTED}",
        ),
        (r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}\b", "<email>"),
        (r"\b\d(?:[ -]?\d){12,18}\b", "<number>"),  # cards and accounts
    )
)
# Characters that nobody sees: controls, formats (zero width, bidi, tags), private use, unassigned, surrogates.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Co", "Cn", "Cs"})


def redacted(text: str) -> str:
    """`text` without secrets as they are usually written."""
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def visible(text: str) -> str:
    """`text` without characters that are not seen; line ends and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(one for one in text if one in "\n\t" or unicodedata.category(one) not in _UNSEEN)
