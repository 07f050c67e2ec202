"""Texts of spans, made visible: characters that hide, reorder or control others are shown by their code. Pure.

A name may hold a right-to-left override (CVE-2021-42574, "Trojan Source"), zero-width characters or terminal escapes;
what is read has to be what is there. `static/text.js` does the same for what scripts show.
"""

from __future__ import annotations

import re

# C0 without tab and line ends, DEL and C1, soft hyphen, bidi marks, embeddings and isolates, zero-width space, word
# joiner and invisible operators, byte order mark, tag characters. The two joiners (200C, 200D) shape scripts and emoji.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """`text` with every such character replaced: control characters by their picture, others as ⟨U+202E⟩.

    Of a text of spaces alone nothing would be seen: each of them is shown by its code.
    """
    told = _HIDDEN.sub(_shown, text)
    return "".join(f"⟨U+{ord(character):04X}⟩" for character in told) if told.isspace() else told


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return f"⟨U+{code:04X}⟩"
