"""What kind of failure it was: one table of rules, first match wins.

The categories are those of the job poller that spantree replaces (docs/features.md), and what agents add to them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from spantree_exporter.facts.exception_types import TIMEOUTS, is_cancellation, short_name, tells_timeout

# (category, pattern on the class name, pattern on the message). Either may be None; a rule needs one match.
_RULES: Final[tuple[tuple[str, re.Pattern[str] | None, re.Pattern[str] | None], ...]] = tuple(
    (
        category,
        re.compile(on_type, re.IGNORECASE) if on_type else None,
        re.compile(text, re.IGNORECASE) if text else None,
    )
    for category, on_type, text in (
        (
            "timeout",
            r"time_?(d_)?out|TimeLimit|Deadline_?Exceeded|^(408|504)$",
            r"timed?[- ]?out|deadline[ _]exceeded|time limit|HTTP (408|504)",
        ),
        ("cancelled", r"cancell?ed|KeyboardInterrupt|Revoked|Terminated", r"\b(was|is|been) cancell?ed\b"),
        (
            "resource",
            r"RateLimit|TooManyRequests|Quota|MemoryError|OutOfMemory|Resource_?Exhausted|Throttl|^429$"
            r"|Deadlock|SerializationFailure|LockNotAvailable|ThroughputExceeded|ContextLengthExceeded|CannotAcquireLock"
            r"|OptimisticLock|UpdateConcurrency|RejectedExecution",
            r"rate.?limit|too many requests|quota|out of memory|no space left|\b429\b|resource.exhausted|throttl"
            r"|tokens per|context.length|database (table )?is locked|too many (clients|connections)"
            r"|deadlock (found|detected)|deadlocked on|could not serialize access",
        ),
        (
            "authentication",
            r"Auth(entication|n)?(Error|Failed|Exception)|Unauthorized|InvalidCredential|InvalidPassword|Unauthenticated"
            r"|^401$|ExpiredToken|TokenExpired",
            r"\b401\b|unauthori[sz]ed|invalid (api.?key|credential|token|password)|authentication failed|login failed",
        ),
        (
            "permission",
            r"Permission|Forbidden|AccessDenied|InsufficientPrivilege|^403$",
            r"\b403\b|forbidden|permission denied|access denied|not allowed to|insufficient privilege",
        ),
        (
            "query",
            r"(Undefined(Table|Column|Function)|Syntax(Error)?OrAccess|ProgrammingError|IntegrityError|UniqueViolation"
            r"|ForeignKeyViolation|NotNullViolation|DataError|DatabaseError|InvalidTextRepresentation|NoSuchTable|Dup(licate)?_?(Key|Entry))",
            r"(relation|column) .* does not exist|unique constraint|constraint violation|duplicate (key|entry)"
            r"|syntax error at or near"
            r"|near .*: syntax error|no such (table|column|function)\b|has no column named|unknown column"
            r"|violates .* constraint",
        ),
        (
            "network",
            r"Connect(ion)?(Error|Refused|Reset|Aborted)?|Network|DNS|gaierror|BrokenPipe|ReadError|RemoteProtocol"
            r"|OperationalError|SSLError|HTTPStatusError|HTTPError|InternalServerError|^5\d\d$|APIConnection|ServiceUnavailable|BadGateway|^UNAVAILABLE$|^E(CONN|NOTFOUND|PIPE|AI_AGAIN|HOST)|UnknownHost|SocketException|OpError"
            r"|CallNotPermitted|BrokenCircuit|CircuitBreaker|SSLCertVerification|SSLHandshake|SSLException|^UND_ERR_"
            r"|^EPROTO$|^CERT_|^SELF_SIGNED_CERT|^UNABLE_TO_(VERIFY|GET_ISSUER)|^P1(001|002|017)$",
            r"connection (refused|reset|aborted|closed|error)|network|name or service not known|unreachable|broken pipe"
            r"|\b50[234]\b|bad gateway|service unavailable|upstream|(HTTP|status code) 5\d\d|no such host|x509: "
            r"|SSL connection|unexpected EOF|socket hang up|can't reach database",
        ),
        (
            "llm",
            r"ModelBehavior|ModelError|LLM|OpenAI|Anthropic|APIError|APIStatus|ContentFilter|ContentPolicy|OutputParser"
            r"|ModelRetry|ToolRetry|Guardrail|Moderation|RetryError|Overloaded",
            r"\b(model|llm|completion|prompt)\b.*(not found|overloaded|failed|refused)|content filter|overloaded"
            r"|guardrail",
        ),
        (
            "validation",
            r"Validation|ValueError|Invalid_?Argument|Out_?Of_?Range$|Failed_?Precondition|^NOT_FOUND$|^ALREADY_EXISTS$|InvalidInput|InvalidRequest|Schema|JSONDecode|ParseError|Unprocessable|Bad_?Request"
            r"|^4(00|09|22)$|^-32(602|600|700)$|^NotFoundError$|^P2025$",
            r"validation|invalid (value|input|argument|format|params)|is required|must be|(HTTP|status code) 4\d\d",
        ),
        (
            "code",
            r"(Type|Attribute|Key|Index|Name|Import|ModuleNotFound|ZeroDivision|Assertion|NotImplemented|Recursion|Unbound"
            r"Local|Lookup|Syntax)Error|NullPointer|NullReference|^UNIMPLEMENTED$|NoMethodError|ReferenceError|panic|BoundsError|^-32601$",
            r"NoneType|unexpected keyword argument|is not defined|has no attribute|object is not|null reference"
            r"|index out of range",
        ),
    )
)

# SQLSTATE, which drivers tell as the class (Npgsql, Node's pg, by db.response.status_code): by code, else by its class.
_SQLSTATE: Final = re.compile(r"(?=.{0,4}\d)[0-9A-Z]{5}")
_SQL_CATEGORIES: Final = {
    **dict.fromkeys(("08", "57P01", "57P02", "57P03"), "network"),
    **dict.fromkeys(("40", "53", "54", "55P03"), "resource"),
    **dict.fromkeys(("21", "22", "23", "25", "26", "34", "42"), "query"),
    "28": "authentication",
    "42501": "permission",
}
# What botocore's ClientError and AWS' SDK for Go quote of an answer, of whatever class they are themselves.
_AWS_CODE: Final = re.compile(r"\((\w{1,100})\) when calling the |\bapi error (\w{1,100}): ")
# What browsers and Node.js say, as a TypeError, of a request that had no answer.
_FETCH_FAILED: Final = re.compile(
    r"(?:fetch failed|Failed to fetch|NetworkError when attempting to fetch resource|Load failed"
    r"|Network request failed)\.?(?: \(.*\))?"
)

# (what a text must hold for the pattern to have anything to do, pattern, what it becomes), in this order.
_NORMALISE: Final[tuple[tuple[str, re.Pattern[str], str], ...]] = (
    ("://", re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE), "<url>"),
    ("@", re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]+\b"), "<email>"),
    ("0x", re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE), "<address>"),
    ("/", re.compile(r"(?:/[\w.@%+~-]+){2,}/?"), "<path>"),
    ("\\", re.compile(r"(?:[A-Za-z]:)?(?:\\[\w.@%+~-]+){2,}\\?"), "<path>"),
)
_WITH_DIGIT: Final = re.compile(r"[\w-]*\d[\w.:,-]*")
_LONG_HEX: Final = re.compile(r"[0-9a-f]{8}", re.IGNORECASE)
# A number after these words says what went wrong, not with which order: HTTP 404 is another error than HTTP 500.
_BEFORE_CODE: Final = re.compile(
    r"\b(?:HTTP(?:/[\d.]+)?|(?:exit|status|return|response|error)[ _-]?(?:code|status)|errno|signal)[ :=]{1,3}$",
    re.IGNORECASE,
)
_CODE: Final = re.compile(r"(-?\d{1,3})[.,:-]*")
_CODE_WORDS_CHARS: Final = 24
# Enough of a message to tell errors apart; what follows is mostly data.
_FINGERPRINT_CHARS: Final = 300
_MESSAGE_CHARS: Final = 1000
# Errors repeat: that of a failed step is asked for again by its execution, that of today's outage by every run.
_CACHED: Final = 4096


@lru_cache(_CACHED)
def category_of(error_type: str | None, message: str | None) -> str:
    """The category of an error, `unknown` where no rule knows it. The class speaks before the message."""
    text = (message or "")[:_MESSAGE_CHARS]
    name = short_name(error_type) if error_type else ""
    if error_type is not None and is_cancellation(error_type, message):
        # A time limit that is told as a cancelled task is a timeout: nobody cancelled it.
        return "timeout" if tells_timeout(text) else "cancelled"
    if name in TIMEOUTS:
        return "timeout"
    if name == "TypeError" and _FETCH_FAILED.fullmatch(text) is not None:
        return "network"
    if _SQLSTATE.fullmatch(name) and (found := _SQL_CATEGORIES.get(name) or _SQL_CATEGORIES.get(name[:2])):
        return found
    for category in _categories_of_class(name):
        if category not in _WIDE or not _matches_narrower(category, text):
            return category
    if (code := _AWS_CODE.search(text)) is not None and (known := _categories_of_class(code[1] or code[2])):
        return known[0]
    for category, _, on_text in _RULES:
        # Where a class is told, "was cancelled" is most likely said of the business that it is about.
        if category == "cancelled" and name and name not in _NO_CLASS:
            continue
        if on_text is not None and on_text.search(text):
            return category
    return "unknown"


def category_of_failure(status: str, error_type: str | None, message: str | None, reason: str | None = None) -> str:
    """The category of a failure; of an error that no rule knows, or none at all, what the step's status tells.

    `reason`: why the step has its status; an HTTP code in it is read as if the message told it.
    """
    if reason is not None and reason.startswith("HTTP "):
        message = f"{message or ''} {reason}"
    found = category_of(error_type, message)
    return _OF_STATUS.get(status, found) if found == "unknown" else found


_OF_STATUS: Final = {"timed_out": "timeout", "cancelled": "cancelled"}
_NO_CLASS: Final = frozenset({"Exception", "BaseException", "Error", "RuntimeError", "_OTHER"})
# Classes that are used for anything: the message may know better.
_WIDE: Final = frozenset({"network", "llm", "validation", "query"})
_NARROW: Final = frozenset({"timeout", "resource", "authentication", "permission"})


@lru_cache(_CACHED)
def _categories_of_class(name: str) -> tuple[str, ...]:
    # Providers of models tell theirs in small letters: `rate_limit_error`.
    joined = name.replace("_", "") if name.islower() else name
    return tuple(
        category
        for category, on_type, _ in _RULES
        if name and on_type is not None and (on_type.search(name) or on_type.search(joined))
    )


def _matches_narrower(category: str, text: str) -> bool:
    # SQLite's OperationalError is a table that is not there as well as a disk that cannot be read.
    wanted = _NARROW | {"query"} if category == "network" else _NARROW
    return any(on_text is not None and narrow in wanted and on_text.search(text) for narrow, _, on_text in _RULES)


@lru_cache(_CACHED)
def fingerprint_of(error_type: str | None, message: str | None, where: str | None = None) -> str:
    """16 hex digits, equal for errors that differ only in ids, numbers, paths, addresses and the like.

    Statuses of HTTP, exit codes and error codes are none of these. `where`: the name of the step, for an error that
    tells nothing of itself: only those of one step are likely to be the same.
    """
    text = (message or "").partition("\n")[0][:_FINGERPRINT_CHARS]
    for needed, pattern, sign in _NORMALISE:
        if needed in text:
            text = pattern.sub(sign, text)
    text = _WITH_DIGIT.sub(_code_or_id_or_number, text)
    told = f"{error_type or ''}\x00{' '.join(text.split())}"
    if where is not None:
        told += f"\x00{_WITH_DIGIT.sub(_code_or_id_or_number, where[:_FINGERPRINT_CHARS])}"
    return blake2b(told.encode(), digest_size=8).hexdigest()


def _code_or_id_or_number(found: re.Match[str]) -> str:
    if code := _CODE.fullmatch(found.group()):
        start = found.start()
        if _BEFORE_CODE.search(found.string[max(0, start - _CODE_WORDS_CHARS) : start]):
            return code[1]
    return "<id>" if _LONG_HEX.search(found.group()) else "<n>"
