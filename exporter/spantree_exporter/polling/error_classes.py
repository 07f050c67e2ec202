"""Which class an error of a poll, or of a job, is of. Pure."""

from __future__ import annotations

import re
from typing import Final, Literal, get_args

ErrorClass = Literal["API", "TIMEOUT", "AUTHENTICATION", "PERMISSION", "QUERY", "RESOURCE", "NETWORK", "UNKNOWN"]
CLASSES: Final[tuple[ErrorClass, ...]] = get_args(ErrorClass)

_READ_CHARS: Final = 1000
_OF_STATUS: Final[dict[int, ErrorClass]] = {
    401: "AUTHENTICATION",
    403: "PERMISSION",
    407: "AUTHENTICATION",
    408: "TIMEOUT",
    413: "RESOURCE",
    504: "TIMEOUT",
    507: "RESOURCE",
}
_WORDS: Final[tuple[tuple[ErrorClass, str], ...]] = (
    ("TIMEOUT", r"time(d)?[ _-]?out|deadline exceeded"),
    ("AUTHENTICATION", r"unauthenticated|unauthori[sz]ed|authentication|invalid (token|api key|credentials)|\b401\b"),
    ("PERMISSION", r"permission|forbidden|access denied|not authori[sz]ed|insufficient privilege|\b403\b"),
    ("RESOURCE", r"out of memory|memoryerror|quota|no space left|disk full|capacity|too many (open|connections)"),
    ("NETWORK", r"connect(ion)?[ _]?(error|refused|reset|aborted)?\b|network|unreachable|\bdns\b|name resolution"),
    ("NETWORK", r"gaierror|broken pipe|\b(ssl|tls)\b"),
    ("QUERY", r"syntax error|\bsql\b|query|parse error"),
    ("QUERY", r"(column|table|relation|dataset) .{0,80}(not exist|not found|unknown)"),
    ("API", r"\bapi\b|http|rate limit|too many requests|bad gateway|service unavailable|\b(4\d\d|5\d\d)\b"),
)
"""The first that is found decides, so what is most particular comes first."""
_OF_WORDS: Final = tuple((error_class, re.compile(words, re.IGNORECASE)) for error_class, words in _WORDS)


def class_of(error: BaseException | str) -> ErrorClass:
    """The class of an exception, by its type, then an HTTP status that it carries, then its words; or of a text."""
    if isinstance(error, str):
        return _by_words(error)
    if isinstance(error, TimeoutError):
        return "TIMEOUT"
    if isinstance(error, PermissionError):
        return "PERMISSION"
    if isinstance(error, MemoryError):
        return "RESOURCE"
    status = _http_status(error)
    if status is not None:
        return _OF_STATUS.get(status, "API")
    by_words = _by_words(f"{type(error).__name__}: {_text_of(error)}")
    if by_words in {"UNKNOWN", "API"} and isinstance(error, OSError):
        # sockets, name resolution, TLS
        return "NETWORK"
    return by_words


def _http_status(error: BaseException) -> int | None:
    for holder in (getattr(error, "response", None), error):
        for name in ("status_code", "status", "code"):
            value = getattr(holder, name, None)
            if isinstance(value, int) and 400 <= value <= 599:
                return value
    return None


def _by_words(text: str) -> ErrorClass:
    read = text[:_READ_CHARS]
    return next((error_class for error_class, words in _OF_WORDS if words.search(read)), "UNKNOWN")


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""
