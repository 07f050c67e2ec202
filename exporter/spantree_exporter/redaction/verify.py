"""Whether what a pattern found is a secret at all. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

# A word of prose, a sentence's end behind it.
_WORD: Final = re.compile(r"[A-Za-z]?[a-z]{0,19}[.,:;!?=-]*")
# What stands for a secret where none is: ${DB_PASSWORD}, {password}, %s, ***, <token>; and what was redacted before.
_PLACEHOLDER: Final = re.compile(r"\$\{?[\w.:-]*\}?|\{\{?[\w. ]*\}?\}|%\(?\w*\)?s|[*.]+|x{3,}|<[\w: ]*>", re.IGNORECASE)
_NOTHING: Final = frozenset({"", "null", "none", "nil", "true", "false", "undefined"})
_REDACTED: Final = re.compile(r"<(?:redacted(?::[0-9a-f]{16})?|email|number)>")
_BASIC_MAX: Final = 400


def is_no_word(text: str) -> bool:
    """Whether it is anything but a word of some language."""
    return _WORD.fullmatch(text) is None


def has_digit_or_case(text: str) -> bool:
    """Whether it has digits, or capitals after the first letter, or a run of letters that no word is."""
    return any(one.isdigit() for one in text) or not text[1:].islower() or max(map(len, re.split(r"[-_]", text))) > 20


def is_basic(text: str) -> bool:
    """Whether it is base64 of a name and a password."""
    try:
        return b":" in base64.b64decode(text[:_BASIC_MAX] + "=" * (-len(text[:_BASIC_MAX]) % 4))
    except (binascii.Error, ValueError):
        return False


def is_card(text: str) -> bool:
    """Whether its last digit is the one that the others ask for (Luhn, ISO/IEC 7812), and its first one a card's."""
    digits = [int(one) for one in text if one.isdigit()]
    total = sum(digit if place % 2 == 0 else (2 * digit - 9 * (digit > 4)) for place, digit in enumerate(digits[::-1]))
    return total % 10 == 0 and digits[0] in (2, 3, 4, 5, 6)


def is_nothing(text: str) -> bool:
    """Whether it says that there is no secret, stands for one, or was redacted before."""
    return (
        text.lower() in _NOTHING
        or _REDACTED.fullmatch(text) is not None
        or (len(text) < 100 and _PLACEHOLDER.fullmatch(text) is not None)
    )
