"""Names of requests without what is different in each of them: `/users/{id}` for `/users/1000`.

A part of a path is taken for an id where it has a digit in it, is long, or holds signs that words have not. Versions
(`v1`), words with one digit at their end (`oauth2`) and plain words stay. So the number of names is bounded by the
number of words that paths are made of, and each name by a number of parts.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

_PARTS: Final = 8
_WORD_CHARS: Final = 32
_PATH_CHARS: Final = 2048
_ID: Final = "{id}"
_FILE: Final = "{file}"
# `v1`, `v1.2`, `v1beta1`, `2024-01-01` is none; `oauth2`, `s3`: one digit behind a word makes ten names at most.
_STAYS: Final = re.compile(r"(?:[vV]\d{1,2}(?:[._]\d{1,2})?(?:(?:alpha|beta|rc)\d{0,2})?|[A-Za-z][A-Za-z_-]{0,15}\d)\Z")
_WORD: Final = re.compile(r"[A-Za-z_$][A-Za-z_$.:~-]*\Z")
_TEMPLATE: Final = re.compile(r"\{[^{}]{0,64}\}|:[A-Za-z_]\w{0,63}|<[^<>]{0,64}>|\*{1,2}")
_EXTENSION: Final = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}\Z")
_CACHED: Final = 4096


def path_of(url: str) -> str | None:
    """The path of a URL, or of what is a path already, without its query; None where it has none."""
    url = url[:_PATH_CHARS]
    if url.startswith("/") and not url.startswith("//"):
        return url.partition("?")[0].partition("#")[0]
    try:
        split = urlsplit(url)
    except ValueError:
        return None
    return split.path or "/"


def shown_url(url: str) -> str | None:
    """`url` without query, fragment and credentials, which may hold secrets; None where it is none."""
    try:
        split = urlsplit(url[:_PATH_CHARS])
    except ValueError:
        return None
    host = split.netloc.rpartition("@")[2]
    return f"{split.scheme}://{host}{split.path}" if host else split.path or None


@lru_cache(_CACHED)
def template_of(path: str) -> str:
    """`path` with a placeholder for each part that is likely to be an id."""
    parts = path.split("/")
    kept = [_part(part) for part in parts[: _PARTS + 1]]
    if len(parts) > _PARTS + 1:
        kept.append("...")
    return "/".join(kept)


def _part(part: str) -> str:
    if not part or _STAYS.match(part) or _TEMPLATE.fullmatch(part):
        return part
    if len(part) <= _WORD_CHARS and _WORD.match(part):
        # Words, and names of files without digits; more than one word in a row is most often a title.
        return part if part.count("-") <= 3 and part.count(".") <= 1 else _ID
    return (
        _FILE
        if "@" not in part
        and "%" not in part
        and _EXTENSION.search(part)
        and part.count(".") == 1
        and len(part) <= 2 * _WORD_CHARS
        else _ID
    )
