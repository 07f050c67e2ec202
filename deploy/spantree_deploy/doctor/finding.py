"""What `spantree doctor` tells: one line for each thing that it looks at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was found, and what to do where that is not as it should be."""

    subject: str
    found: str
    remedy: str | None = None
    """None: all is well."""
