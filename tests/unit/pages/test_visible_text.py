"""Texts of which something would not be seen."""

from __future__ import annotations

import pytest

from spantree_api.pages.visible_text import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("order flow", "order flow"),
        (" order ", " order "),
        ("", ""),
        ("a\u202eb\x07", "a⟨U+202E⟩b␇"),
        (" ", "⟨U+0020⟩"),
        ("\u3000\n", "⟨U+3000⟩⟨U+000A⟩"),
        ("\u200b ", "⟨U+200B⟩ "),
    ],
)
def test_what_would_not_be_seen_is_told_by_its_code(text: str, shown: str) -> None:
    assert visible(text) == shown
