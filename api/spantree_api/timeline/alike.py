"""Names that differ in a number alone, as one: `step 1` to `step 300` are `step #`. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

# Fewer names than these are told one by one.
NAMES_MAX = 40
_NUMBER = re.compile(r"\d+(?:[._:-]\d+)*")


def form_of(name: str) -> str:
    """`name` with `#` for each number."""
    return _NUMBER.sub("#", name)


def told_alike(names: Iterable[str], most: int = NAMES_MAX) -> dict[str, str]:
    """For each of `names` what it is told as.

    Of more than `most` that is its form, where another one has that too; else itself.
    """
    every = dict.fromkeys(names)
    if len(every) <= most:
        return {name: name for name in every}
    forms = {name: form_of(name) for name in every}
    alike = Counter(forms.values())
    return {name: form if alike[form] > 1 else name for name, form in forms.items()}
