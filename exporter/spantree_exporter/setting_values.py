"""What a setting may be: readers of one value each, for every part. Every ValueError says what is wanted instead.

Services import it, by any Python from 3.10: nothing but the standard library.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

Number = TypeVar("Number", int, float)
Read = Callable[[object], Any]
"""A value as a flag, a variable or TOML gives it -> the setting. Raises ValueError."""

YES: Final = ("1", "true", "yes", "on")
NO: Final = ("0", "false", "no", "off")

_UNITS: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
# More digits than any size has; Python refuses to read thousands of them, with a text of its own.
_SIZE: Final = re.compile(r"\s*(\d{1,18})\s*([A-Za-z]*)\s*")
_URL: Final = re.compile(r"https?://[^\s/].*")
_TOKEN: Final = re.compile(r"[!-~]+")
_POSTGRES_URL: Final = re.compile(r"postgres(ql)?://.*", re.DOTALL)
_LIBPQ_PAIRS: Final = re.compile(r"\s*[a-z_]+\s*=.*", re.DOTALL)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def whole(lowest: int, highest: int) -> Read:
    """A whole number from `lowest` to `highest`."""

    def read(value: object) -> int:
        number = _number(value)
        try:
            found = int(number) if isinstance(number, str) else number
        except ValueError:
            raise ValueError("wanted a whole number") from None
        if isinstance(found, float):
            if not found.is_integer():
                raise ValueError("wanted a whole number")
            found = int(found)
        return _between(found, lowest, highest)

    return read


def size(lowest: int) -> Read:
    """Bytes, or a number with a unit."""

    def read(value: object) -> int:
        found = _bytes(value) if isinstance(value, str) else _number(value)
        return int(whole(lowest, 2**62)(found))

    return read


def seconds(lowest: float = 0.0, *, more_than_none: bool = False) -> Read:
    """Seconds with a fraction."""

    def read(value: object) -> float:
        try:
            found = float(_number(value))
        except ValueError:
            found = math.nan
        if not math.isfinite(found):
            raise ValueError("wanted a number")
        if more_than_none and found <= 0:
            raise ValueError("wanted more than 0")
        return _between(found, lowest, 1e9)

    return read


def text(value: object) -> str:
    """A text that is not empty."""
    if not isinstance(value, str):
        raise ValueError("wanted a text")
    if not value:
        raise ValueError("wanted a value")
    return value


def one_of(*wanted: str) -> Read:
    """One of some words."""

    def read(value: object) -> str:
        found = text(value)
        if found not in wanted:
            raise ValueError(f"wanted one of {', '.join(wanted)}")
        return found

    return read


def any_text(value: object) -> str:
    """A text, also an empty one."""
    return text(value) if value else ""


def yes_or_no(value: object) -> bool:
    """True or false, in TOML or as a text."""
    if isinstance(value, bool):
        return value
    word = text(value).strip().lower()
    if word not in YES + NO:
        raise ValueError("wanted true or false")
    return word in YES


def listed(value: str) -> list[str]:
    """What stands between the commas of a list."""
    return [part.strip() for part in value.split(",") if part.strip()]


def url(value: object, example: str = "http://127.0.0.1:4318") -> str:
    """An http or https URL; `example` is one, for whoever gave something else."""
    wanted = ValueError(f"wanted a URL such as {example}")
    if not _URL.fullmatch(text(value)):
        raise wanted
    try:
        # As whoever looks it up does.
        (urlsplit(text(value)).hostname or "").encode("idna")
    except ValueError:
        # Brackets that are not closed, or that hold no address; a name with a part that is empty or too long.
        raise wanted from None
    return text(value)


def url_like(example: str) -> Read:
    """An http or https URL, of which `example` is one."""
    return partial(url, example=example)


def urls(value: object) -> str:
    """URLs with commas between, or an empty text."""
    for one in listed(any_text(value)):
        try:
            url(one)
        except ValueError:
            raise ValueError("wanted URLs with commas between, such as http://collector-0:4318") from None
    return any_text(value)


def hosts(value: object) -> str:
    """Names of hosts with commas between, or an empty text."""
    if any("/" in one or " " in one for one in listed(any_text(value))):
        raise ValueError("wanted names of hosts with commas between, such as spantree.example, without http://")
    return any_text(value)


def token(value: object) -> str:
    """A token as it goes into a header; the end of the line of the file that it stood in is no part of it."""
    found = text(value).strip()
    if not _TOKEN.fullmatch(found):
        raise ValueError("wanted a token, one word as `spantree token create` prints it")
    return found


def place(value: object) -> Path:
    """A path; ~ is the home directory."""
    if isinstance(value, Path):
        return value
    return Path(os.path.expanduser(text(value)))  # noqa: PTH111  expanduser of Path raises where there is no home


def postgres(value: object) -> str:
    """What libpq takes: a postgresql:// URL, or its keyword=value form. What is said of others holds no secret."""
    found = text(value)
    if _POSTGRES_URL.fullmatch(found):
        # libpq would name the part of a password that it takes for something else.
        authority, _, rest = found.partition("://")[2].partition("/")
        ports = re.findall(r":([^:,\]]*)(?=,|$)", authority.partition("?")[0].rpartition("@")[2])
        if re.search(r"\s", found) or "@" in rest.partition("?")[0] or not all(re.fullmatch(r"\d*", p) for p in ports):
            raise ValueError(
                "it cannot be read as postgresql://user:password@host:port/database; "
                "in a user and a password write %20 for a space, %2F for /, %3A for :, %40 for @"
            )
        return found
    if _LIBPQ_PAIRS.fullmatch(found) and not _SCHEME.match(found):
        return found
    scheme = _SCHEME.match(found)
    began = f"begins with {scheme[1]}://" if scheme else "is neither a URL nor keyword=value pairs"
    raise ValueError(f"it {began}; wanted postgresql://user@host/database, or libpq's host=... dbname=...")


def _bytes(value: str) -> int:
    match = _SIZE.fullmatch(value)
    factor = _UNITS.get(match[2].upper()) if match else None
    if match is None or factor is None:
        raise ValueError('give bytes, or a number with a unit such as "512MiB" or "8GiB"')
    return int(match[1]) * factor


def _number(value: object) -> str | int | float:
    if isinstance(value, bool):
        raise ValueError("wanted a number, not true or false")
    if not isinstance(value, str | int | float):
        raise ValueError("wanted a number")
    return value


def _between(found: Number, lowest: Number, highest: Number) -> Number:
    if found < lowest:
        raise ValueError(f"wanted {lowest:.12g} or more")
    if found > highest:
        raise ValueError(f"wanted {highest:.12g} or less")
    return found


Port = Annotated[int, whole(0, 65_535)]
PortOrOff = Annotated[int, whole(-1, 65_535)]
Bytes = Annotated[int, size(1)]
BytesOrNone = Annotated[int, size(0)]
Seconds = Annotated[float, seconds(more_than_none=True)]
SecondsOrNone = Annotated[float, seconds()]
Count = Annotated[int, whole(1, 10**9)]
CountOrNone = Annotated[int, whole(0, 10**9)]
YesOrNo = Annotated[bool, yes_or_no]
Text = Annotated[str, text]
AnyText = Annotated[str, any_text]
TextOrNone = Annotated[str | None, text]
Url = Annotated[str | None, url]
Urls = Annotated[str, urls]
Hosts = Annotated[str, hosts]
Location = Annotated[Path, place]
LocationOrNone = Annotated[Path | None, place]
