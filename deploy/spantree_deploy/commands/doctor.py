"""`spantree doctor`: what is wrong, and what to do about it."""

from __future__ import annotations


def doctor() -> None:
    """Say what is wrong and what to do about it."""
