"""Texts of spans without what must not leave: keys, tokens, passwords, addresses of people. Pure.

The rules are those of what is stored (spantree_exporter.redaction), and more: a model's provider is somebody else.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from spantree_exporter.redaction.rules import LEAVING_RULES
from spantree_exporter.redaction.text import TextRedactor

_REDACTOR: Final = TextRedactor(LEAVING_RULES)
# Characters that nobody sees: controls, formats (zero width, bidi, tags), private use, unassigned, surrogates.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Co", "Cn", "Cs"})


def redacted(text: str) -> str:
    """`text` without secrets as they are usually written."""
    return _REDACTOR.text(text)[0]


def visible(text: str) -> str:
    """`text` without characters that are not seen; line ends and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(one for one in text if one in "\n\t" or unicodedata.category(one) not in _UNSEEN)
