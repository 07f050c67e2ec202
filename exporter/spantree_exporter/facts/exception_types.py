"""What an exception's type says of how the work ended, in the languages that send spans: a table, no reading of prose.

A type is compared by its last part, without module, package, pointer or type parameters:
`asyncio.exceptions.CancelledError`, `java.util.concurrent.TimeoutException`, `*context.deadlineExceededError`,
`System.Threading.Tasks.TaskCanceledException`, `tokio::time::error::Elapsed`.
"""

from __future__ import annotations

import re
from typing import Final

from spantree_exporter.facts.vocabulary import Status

TIMEOUTS: Final = frozenset(
    {
        # Python
        "TimeoutError", "timeout", "Timeout", "ReadTimeout", "WriteTimeout", "ConnectTimeout", "PoolTimeout",
        "TimeoutException", "TimeoutExpired", "ConnectTimeoutError", "ReadTimeoutError", "NewConnectionTimeout",
        "ServerTimeoutError", "ConnectionTimeoutError", "SocketTimeoutError", "APITimeoutError",
        "SoftTimeLimitExceeded", "TimeLimitExceeded", "PoolTimeoutError", "LockTimeout", "QueryTimeout",
        "DeadlineExceeded", "TooSlowError", "WorkflowTaskTimedOut", "AirflowTaskTimeout", "TaskTimeout",
        "DBOSStepTimeoutError", "DBOSStreamTimeoutError", "DBOSQueryTimeoutError",
        # JavaScript: names, and the codes that stand for them
        "ETIMEDOUT", "ESOCKETTIMEDOUT", "ERR_TIMEOUT", "UND_ERR_CONNECT_TIMEOUT", "UND_ERR_HEADERS_TIMEOUT",
        "UND_ERR_BODY_TIMEOUT", "HeadersTimeoutError", "BodyTimeoutError", "APIConnectionTimeoutError",
        "ResponseTimeoutError", "RequestTimeoutError",
        # Java, Kotlin
        "SocketTimeoutException", "HttpTimeoutException", "HttpConnectTimeoutException", "SQLTimeoutException",
        "QueryTimeoutException", "ReadTimeoutException", "WriteTimeoutException", "ConnectTimeoutException",
        "AsyncRequestTimeoutException", "TimeoutCancellationException", "InterruptedByTimeoutException",
        "LockTimeoutException", "TransactionTimedOutException", "ConnectionPoolTimeoutException", "TimeoutFailure",
        # Go
        "deadlineExceededError", "DeadlineExceededError", "timeoutError",
        # .NET
        "TimeoutRejectedException", "WebSocketTimeoutException", "RegexMatchTimeoutException",
        "ServiceRequestTimeoutException",
        # Rust
        "Elapsed", "TimedOut", "RecvTimeoutError",
        # gRPC and Connect
        "DEADLINE_EXCEEDED", "deadline_exceeded",
    }
)  # fmt: skip
CANCELLATIONS: Final = frozenset(
    {
        # Python
        "CancelledError", "Cancelled", "KeyboardInterrupt", "GeneratorExit", "TaskRevokedError", "CancelledByUser",
        "WorkflowCancelledByUser",
        "ScopeCancelled", "FlowRunCancelled", "DBOSWorkflowCancelledError", "DBOSAwaitedWorkflowCancelledError",
        # JavaScript
        "AbortError", "CanceledError", "CancelError", "ERR_CANCELED", "ABORT_ERR", "APIUserAbortError",
        "RequestAbortedError", "UND_ERR_ABORTED",
        # what the browser's instrumentation of XMLHttpRequest says of a request that the page gave up
        "abort",
        # Java, Kotlin
        "CancellationException", "JobCancellationException", "InterruptedException", "ClosedByInterruptException",
        "CanceledFailure", "CancelledFailure", "CancelledException", "CanceledException",
        # ... and a Kafka consumer that was told to leave its poll
        "WakeupException", "InterruptException",
        # Go: context.Canceled is a value, see _GO_CANCELLED
        "canceledError",
        # .NET
        "OperationCanceledException", "TaskCanceledException",
        # gRPC and Connect
        "CANCELLED", "canceled",
        # Servers of HTTP whose client went away: Tomcat, Spring, Starlette, Jetty, ASP.NET Core
        "ClientAbortException", "AsyncRequestNotUsableException", "ClientDisconnect", "ClientDisconnected",
        "EofException", "ConnectionResetException", "ConnectionAbortedException", "WebSocketDisconnect",
        # PostgreSQL's query_canceled: by somebody, or by a time limit, which the message tells
        "QueryCanceled", "QueryCanceledError",
    }
)  # fmt: skip
# Exceptions by which frameworks steer, and which are no failures at all.
_STEERING: Final[dict[str, Status]] = {
    "GraphInterrupt": "waiting",
    "NodeInterrupt": "waiting",
    "CallDeferred": "waiting",
    "ApprovalRequired": "waiting",
    "GraphBubbleUp": "completed",
    "ParentCommand": "completed",
    "Command": "completed",
    "AirflowSkipException": "skipped",
    "TaskDeferred": "waiting",
    "AirflowRescheduleException": "waiting",
    # Durable execution: the function goes on in another invocation. AWS, Vercel, Restate by language.
    "SuspendExecution": "waiting",
    "TimedSuspendExecution": "waiting",
    "WorkflowSuspension": "waiting",
    "SuspendedException": "waiting",
    "SuspendedError": "waiting",
    # CrewAI and Genkit ask a person.
    "HumanFeedbackPending": "waiting",
    "ToolInterruptError": "waiting",
    "GenkitInterrupt": "waiting",
    # LlamaIndex: the run has its result, a step is run again when its event comes (openinference#763).
    "WorkflowDone": "completed",
    "WaitingForEvent": "waiting",
    "StopIteration": "completed",
    "StopAsyncIteration": "completed",
    # Temporal, by language: the workflow goes on as a new run, somebody else will complete the activity.
    "ContinueAsNewError": "completed",
    "ContinueAsNewException": "completed",
    "ContinueAsNew": "completed",
    "CompleteAsyncError": "completed",
    "_CompleteAsyncError": "completed",
    "CompleteAsyncException": "completed",
}
# `sys.exit()` is an exception in Python; with these texts, after the class or alone, it says that all went well.
_EXIT: Final = "SystemExit"
_EXITED_WELL: Final = frozenset({"", "0", "None"})
# Go's context.Canceled and context.DeadlineExceeded are values with these texts, which whatever wraps them ends with.
# The types are those of errors.New, of fmt.Errorf, of the standard library's wrappers, of AWS' SDK; often none is sent.
_GO_CANCELLED: Final = "context canceled"
_GO_DEADLINE: Final = "context deadline exceeded"
_GO_TYPES: Final = frozenset(
    {
        "errorString", "wrapError", "wrapErrors", "withStack", "withMessage", "OpError", "DNSError", "OperationError",
        "RequestCanceledError",
    }
)  # fmt: skip
_GO_URL_ERROR: Final = "url.Error"
# Values of Go's that libraries return as errors and that are none: the other way of database/sql's is taken, somebody
# else will complete Temporal's activity.
_GO_STEERING: Final = frozenset(
    {
        "driver: skip fast-path; continue as if unimplemented",
        "not error: do not autocomplete, using Client.CompleteActivity() to complete",
    }
)
# How a handler hears that its WebSocket was closed by who opened it, in due form (RFC 6455: done, going away, no code
# sent): Starlette's `(1001, '')`, the one of Python's websockets, gorilla's `websocket: close 1000 (normal)`.
_WEB_SOCKET_ENDS: Final = frozenset({"WebSocketDisconnect", "ConnectionClosedOK", "CloseError"})
_CLOSED_WELL: Final = re.compile(r"\D{0,40}(?:1000|1001|1005)\b")
# Answers that clients return as errors, by kind of node: a cache has no such key, a stream has come to its end.
_PLAIN_ANSWERS: Final[dict[str, frozenset[str]]] = {
    "db": frozenset(
        {"redis: nil", "redis nil message", "redigo: nil returned", "valkey nil message", "memcache: cache miss"}
    ),
    "rpc": frozenset({"EOF"}),
}
# Redis' ways to say how to ask instead: a script that it has not been told yet, a key that another node has.
_ASK_SO: Final = re.compile(r"(?:NOSCRIPT )?No matching script|NOSCRIPT |(?:MOVED|ASK) \d{1,5} \S")
# What databases say of a query that was cancelled, where their drivers raise what they raise of any error: PostgreSQL
# (lib/pq#577), SQL Server (dotnet/SqlClient#26), MySQL, SQLite, ClickHouse. A time limit has other words.
_QUERY_CANCELLED: Final = re.compile(
    r"(?:canceling statement due to user request(?: \(SQLSTATE 57014\))?|\bOperation cancelled by user\."
    r"|(?:\A|: |')Query execution was interrupted|(?:\A|: )interrupted|\(QUERY_WAS_CANCELLED\))[\s')]{0,9}\Z"
)
_END_CHARS: Final = 300
# How Next.js goes to another page, or to the one for what is not there; the class is JavaScript's own.
_NEXT: Final = re.compile(r"NEXT_(?:REDIRECT|NOT_FOUND|HTTP_ERROR_FALLBACK)(?:;|\Z)")
# Libraries name theirs so; the table holds those of the languages.
_NAMED_TIMEOUT: Final = re.compile(
    r"Timeout(?:Error|Exception|Expired)?\Z|TimedOut(?:Error|Exception)?\Z|TimeLimitExceeded\Z"
)
# What says, beside a type of cancellation, that a time limit did it.
_TIMEOUT_SIGN: Final = re.compile(r"time[- ]?out|timed[- ]out|deadline|time limit", re.IGNORECASE)
_SIGN_CHARS: Final = 2000
# A class that is told in front of a message is one of the tables, or is named as classes of errors are.
_NAMED_AS_CLASS: Final = re.compile(r"[A-Z][A-Za-z0-9_]{1,200}(?:Error|Exception)\Z")
_DOTTED: Final = re.compile(r"[A-Za-z_][\w.]*\Z")
_TYPE_CHARS: Final = 512


def short_name(error_type: str) -> str:
    """The last part of a type's name, without what languages put around it."""
    name = error_type[-_TYPE_CHARS:]
    if name.isalnum():
        return name
    # Type parameters: `Failure<T>` and .NET's `Failure`1`.
    name = name.partition("<")[0].partition("`")[0].rstrip("()[] ")
    for mark in (".", ":", "/", "$", "+", "\\"):
        name = name.rpartition(mark)[2]
    return name.strip("*& '>")


def is_timeout(error_type: str) -> bool:
    """Whether the type is that of work that ran out of time."""
    name = short_name(error_type)
    return name in TIMEOUTS or _NAMED_TIMEOUT.search(name) is not None


def is_cancellation(error_type: str, message: str | None = None) -> bool:
    """Whether the type is that of work that somebody, or a time limit, cancelled."""
    name = short_name(error_type)
    return name in CANCELLATIONS or (_is_go(error_type, name) and _tells(message, _GO_CANCELLED))


def _is_go(error_type: str, name: str) -> bool:
    return name in _GO_TYPES or error_type.endswith(_GO_URL_ERROR)


def _tells(message: str | None, text: str) -> bool:
    """Whether an error of Go's is, or wraps, the one of this text."""
    if message is None or not message.endswith(text):
        return False
    # AWS' SDK puts it into a list: `..., canceled, context canceled`.
    return message == text or message[: -len(text)].endswith((": ", "= ", ", "))


def is_go_deadline(error_type: str | None, message: str | None) -> bool:
    """Whether the error is, or wraps, Go's context.DeadlineExceeded, told by its type or by its text alone."""
    if error_type is not None and not _is_go(error_type, short_name(error_type)):
        return False
    return _tells(message, _GO_DEADLINE)


def tells_timeout(*texts: str | None) -> bool:
    """Whether one of the texts beside a cancellation names a time limit."""
    return any(text is not None and _TIMEOUT_SIGN.search(text[:_SIGN_CHARS]) is not None for text in texts)


def status_of_type(error_type: str | None, message: str | None = None, stacktrace: str | None = None) -> Status | None:
    """The status that an exception means where it means another than failed.

    A cancellation that a time limit made is none: the work failed.
    """
    if error_type is None:
        if message is not None and (message in _GO_STEERING or _NEXT.match(message) is not None):
            return "completed"
        return "cancelled" if _tells(message, _GO_CANCELLED) else None
    if (steering := _STEERING.get(short_name(error_type))) is not None:
        return steering
    if error_type.rpartition(".")[2] == _EXIT:
        said = (message or "").removeprefix(f"{_EXIT}:").strip()
        return "completed" if said in _EXITED_WELL else None
    if short_name(error_type) in _WEB_SOCKET_ENDS and _CLOSED_WELL.match(message or "1005") is not None:
        return "completed"
    if is_cancellation(error_type, message):
        return None if tells_timeout(message, stacktrace) else "cancelled"
    if message in _GO_STEERING and _is_go(error_type, short_name(error_type)):
        return "completed"
    if error_type == "Error" and message is not None and _NEXT.match(message) is not None:
        return "completed"
    return None


def is_plain_answer(kind: str | None, message: str | None) -> bool:
    """Whether the error of a client's call only says that something is not there, the end of it, or how to ask."""
    if kind is None or message is None:
        return False
    return message in _PLAIN_ANSWERS.get(kind, ()) or (kind == "db" and _ASK_SO.match(message) is not None)


def is_cancelled_query(kind: str | None, message: str | None) -> bool:
    """Whether the error of a client's call of a database is that somebody cancelled it."""
    return kind == "db" and message is not None and _QUERY_CANCELLED.search(message[-_END_CHARS:]) is not None


# How the exceptions of Python's gRPC tell themselves; the class (_InactiveRpcError, AioRpcError, ...) says nothing.
_GRPC: Final = re.compile(
    r"<\w+ of RPC that terminated with:\s+status = StatusCode\.([A-Z_]+)"
    r"(?:\s+details = \"(.*?)(?:\"\s+debug_error_string = .*|\"[\s>]*)?)?\Z",
    re.DOTALL,
)


# The class that a stack trace of JavaScript's begins with: `AbortError: ...`, `TypeError [ERR_INVALID_ARG_TYPE]: ...`.
_STACK_HEAD: Final = re.compile(r"([A-Za-z_$][\w$.]{0,200})(?: \[\w{1,200}\])?(?::|\n|\Z)")


def class_of_code(code: str, stacktrace: str) -> str:
    """The class of an exception whose type is told as a `code` of digits, where its stack trace names one.

    JavaScript's SDK prefers an error's code to its name: an aborted request is of type `20`, a timeout `23`.
    """
    head = _STACK_HEAD.match(stacktrace)
    return head[1] if head is not None and (head[1] == "Error" or is_class_name(head[1])) else code


# The same in Java, .NET, Go and Node.js.
_GRPC_ELSEWHERE: Final[tuple[tuple[frozenset[str], re.Pattern[str]], ...]] = (
    (frozenset({"StatusRuntimeException", "StatusException"}), re.compile(r"([A-Z_]+)(?:: (.*))?\Z", re.DOTALL)),
    (
        frozenset({"RpcException"}),
        re.compile(r"Status\(StatusCode=\"?([A-Za-z]+)\"?, Detail=\"(.*?)\"[,)].*\Z", re.DOTALL),
    ),
    (frozenset({"Error", "statusError"}), re.compile(r"rpc error: code = ([A-Za-z]+) desc = (.*)\Z", re.DOTALL)),
    (frozenset({"Error", "ServiceError"}), re.compile(r"\d{1,2} ([A-Z_]{2,}): (.*)\Z", re.DOTALL)),
)
_WORDS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_GRPC_CODES: Final = frozenset(
    {
        "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
        "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
    }
)  # fmt: skip


def grpc_error(error_type: str, message: str) -> tuple[str, str] | None:
    """(the status code, what it was sent with) of an exception of gRPC; None for any other."""
    name = "Error" if error_type.isdigit() else short_name(error_type)  # Node.js' SDK tells the code as the type
    for names, pattern in _GRPC_ELSEWHERE:
        if name in names and (found := pattern.match(message[:_SIGN_CHARS])) is not None:
            code = _WORDS.sub("_", found[1]).upper().replace("CANCELED", "CANCELLED")
            if code in _GRPC_CODES:
                return code, found[2] or code.lower().replace("_", " ")
    if not error_type.startswith("grpc.") and not error_type.endswith(("RpcError", "Rendezvous")):
        return None
    found = _GRPC.match(message[:_SIGN_CHARS])
    return None if found is None else (found[1], found[2] or found[1].lower().replace("_", " "))


# How stack traces tell what an exception was raised from: Python before it, and what a group holds; Java, .NET and
# Node.js after it.
_PYTHON_CHAINED: Final = re.compile(
    r"\n\n(?:The above exception was the direct cause of the following exception"
    r"|During handling of the above exception, another exception occurred):\n"
)
_CAUSED_BY: Final = re.compile(
    r"(?:^[ \t]*Caused by: |^ *\| | ---> |\[cause\]: )([\w.$]{0,200}(?:Error|Exception)\b.*)", re.MULTILINE
)
# One of these is in every trace of a chain; most traces have none, and patterns cost eight times as much.
_CHAINED: Final = ("above exception", "Caused by: ", " ---> ", "[cause]: ", "| ")
_DOTNET_CODE: Final = re.compile(r"^([\w.$]+) \([^)]*\): ")
_STACK_CHARS: Final = 65_536
_CAUSES: Final = 8
_CAUSE_CHARS: Final = 300


def causes_in(stacktrace: str) -> list[str]:
    """`Class: message` of each exception that the last one was raised from, as its stack trace tells them."""
    text = stacktrace[-_STACK_CHARS:]
    found: list[str] = []
    if not any(sign in text for sign in _CHAINED):
        return found
    for chained in _PYTHON_CHAINED.finditer(text):
        # The exception follows the last of the indented lines, which tell where it was raised.
        lines = text[: chained.start()][-4 * _CAUSE_CHARS :].split("\n")
        last = max((n for n, line in enumerate(lines) if line.startswith("  ")), default=len(lines))
        if told := "\n".join(lines[last + 1 :]):
            found.append(told[:_CAUSE_CHARS])
    found += [_DOTNET_CODE.sub(r"\1: ", told[1].rstrip())[:_CAUSE_CHARS] for told in _CAUSED_BY.finditer(text)]
    return found[:_CAUSES]


# Exceptions by which a handler says what the server shall answer; those of any code, and those of one or two.
_ANSWERS: Final = frozenset(
    {"HTTPException", "HttpException", "HttpError", "ResponseStatusException", "HttpResponseException"}
)
_ANSWERS_OF: Final[dict[str, str]] = {
    "HTTPOk": "200",
    "HTTPCreated": "201",
    "HTTPAccepted": "202",
    "HTTPNoContent": "204",
    "HTTPMovedPermanently": "301",
    "HTTPFound": "302",
    "HTTPSeeOther": "303",
    "HTTPNotModified": "304",
    "HTTPTemporaryRedirect": "307",
    **dict.fromkeys(("HTTPPermanentRedirect", "RequestRedirect"), "308"),
    **dict.fromkeys(("BadRequest", "HTTPBadRequest", "BadRequestHttp", "BadHttpRequest"), "400"),
    **dict.fromkeys(("Unauthorized", "HTTPUnauthorized", "UnauthorizedHttp", "NotAuthenticated"), "401"),
    **dict.fromkeys(("Forbidden", "HTTPForbidden", "AccessDenied", "AccessDeniedHttp", "PermissionDenied"), "403"),
    **dict.fromkeys(("NotFound", "HTTPNotFound", "NotFoundHttp", "Http404"), "404"),
    **dict.fromkeys(("MethodNotAllowed", "HTTPMethodNotAllowed", "MethodNotAllowedHttp"), "405"),
    **dict.fromkeys(("Conflict", "HTTPConflict", "ConflictHttp"), "409"),
    **dict.fromkeys(("Gone", "HTTPGone", "GoneHttp"), "410"),
    **dict.fromkeys(("RequestValidation", "UnprocessableEntity", "HTTPUnprocessableEntity"), "422"),
    **dict.fromkeys(("TooManyRequests", "HTTPTooManyRequests", "TooManyRequestsHttp", "Throttled"), "429"),
    "PayloadTooLarge": "413",
    # Rails: config.action_dispatch.rescue_responses
    **dict.fromkeys(("RecordNotFound", "Routing", "ActionNotFound", "MissingController"), "404"),
    **dict.fromkeys(("UnknownHttpMethod",), "405"),
    **dict.fromkeys(("UnknownFormat", "MissingExactTemplate", "InvalidType"), "406"),
    **dict.fromkeys(("ParameterMissing", "Parse", "ParameterType", "InvalidParameter", "ParamsTooDeep"), "400"),
    **dict.fromkeys(
        ("RecordInvalid", "RecordNotSaved", "InvalidAuthenticityToken", "InvalidCrossOriginRequest"), "422"
    ),
    "StaleObject": "409",
    # Spring: DefaultHandlerExceptionResolver and Spring Security
    **dict.fromkeys(("NoHandlerFound", "NoResourceFound"), "404"),
    **dict.fromkeys(
        (
            "MissingServletRequestParameter", "MissingServletRequestPart", "MissingRequestHeader",
            "MissingRequestCookie", "ServletRequestBinding", "TypeMismatch", "MethodArgumentTypeMismatch",
            "HttpMessageNotReadable", "MethodArgumentNotValid",
            "HandlerMethodValidation", "Bind", "WebExchangeBind", "ServerWebInput",
        ),
        "400",
    ),
    "HttpRequestMethodNotSupported": "405",
    "HttpMediaTypeNotAcceptable": "406",
    "HttpMediaTypeNotSupported": "415",
    "MaxUploadSizeExceeded": "413",
    **dict.fromkeys(("BadCredentials", "InsufficientAuthentication", "NotAuthorized"), "401"),
    "AuthorizationDenied": "403",
    # Laravel, Django and its REST framework, Phoenix
    **dict.fromkeys(("ModelNotFound", "RecordsNotFound", "NoResults", "NoRoute"), "404"),
    **dict.fromkeys(("Validation",), "400 422"),
    **dict.fromkeys(("Authentication", "AuthenticationFailed"), "401 403"),
    **dict.fromkeys(("Authorization", "InvalidCSRFToken"), "403"),
    "TokenMismatch": "419",
    "ThrottleRequests": "429",
    **dict.fromkeys(("SuspiciousOperation", "DisallowedHost", "InvalidQuery", "BadEncoding"), "400"),
    "NotAcceptable": "406",
    "UnsupportedMediaType": "415",
    "RequestTooLarge": "413",
}  # fmt: skip


def is_answer(error_type: str | None, message: str | None, code: str) -> bool:
    """Whether the exception is how a handler says that the server shall answer `code`, three digits."""
    if message is not None and message.startswith(code) and not message[3:4].isalnum():
        return True
    name = short_name(error_type) if error_type else ""
    if name in _ANSWERS:
        return True
    return code in _ANSWERS_OF.get(name.removesuffix("Exception").removesuffix("Error"), "").split()


def leading_class(text: str, message: str | None) -> str | None:
    """The class in `Class: message`, as SDKs describe a status; None where the first word is just a word.

    It is a class where what follows is all of the exception's own `message`, or where it is called as classes are.
    """
    word, colon, rest = text[:_TYPE_CHARS].partition(": ")
    if not colon or _DOTTED.match(word) is None:
        return None
    if message and text[len(word) + 2 :] == message and rest:
        return word
    return word if is_class_name(word) else None


def is_class_name(word: str) -> bool:
    """Whether `word` is the name of a class of errors and no word of a sentence."""
    name = word.rpartition(".")[2]
    return (
        _NAMED_AS_CLASS.match(name) is not None
        or name in _STEERING
        or name == _EXIT
        or (name[:1].isupper() and len(name) > len("Cancelled") and (name in TIMEOUTS or name in CANCELLATIONS))
    )
