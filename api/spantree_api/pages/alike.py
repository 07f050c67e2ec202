"""Names that differ in a number alone, as one: `step 1` to `step 300` are `step #`. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

# Fewer names than these are told one by one.
_NAMES_MAX = 40
_NUMBER = re.compile(r"\d+(?:[._:-]\d+)*")


def form_of(name: str) -> str:
    """`name` with `#` for each number."""
    return _NUMBER.sub("#", name)


def told_alike(names: Iterable[str]) -> dict[str, str]:
    """For each of `names` what it is told as: of many its form, where another one has it too; else itself."""
    every = dict.fromkeys(names)
    if len(every) <= _NAMES_MAX:
        return {name: name for name in every}
    forms = {name: form_of(name) for name in every}
    alike = Counter(forms.values())
    return {name: form if alike[form] > 1 else name for name, form in forms.items()}
