"""What the API refuses, and how every refusal is told: `{"error": {"code", "message", "details"}}`.

ApiError
├── InvalidParameter   422  a parameter or path that no answer exists for, whatever the database holds
├── Unauthorized       401  no token, or none that is good
├── Forbidden          403  the token does not allow it
├── NotFound           404  a well-formed id that the database does not hold
└── Unavailable        503  the database is away or too slow; retrying helps, Retry-After says when
"""

from __future__ import annotations

from typing import Any

from spantree_exporter.errors import SpantreeError
from spantree_exporter.tokens import Identity

RETRY_AFTER_S = 2


class ApiError(SpantreeError):
    """Root of what the API answers with on purpose; its text is a sentence for the caller."""

    status_code = 500
    code = "internal_error"

    def __init__(self, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.details = details or {}


class InvalidParameter(ApiError):
    """Nothing to look up: the request itself has to change. `details.parameter` names what."""

    status_code = 422
    code = "invalid_parameter"

    def __init__(self, parameter: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message, {"parameter": parameter, **(details or {})})


class Unauthorized(ApiError):
    """Nobody is known to ask. `guessed`: a token was shown, and it is not a good one."""

    status_code = 401
    code = "unauthorized"

    def __init__(self, message: str, *, guessed: bool) -> None:
        super().__init__(message)
        self.guessed = guessed


class Forbidden(ApiError):
    """Whoever asks may not do this; `identity` is who that is, where it is known."""

    status_code = 403
    code = "forbidden"

    def __init__(self, message: str, identity: Identity | None = None) -> None:
        super().__init__(message)
        self.identity = identity


class NotFound(ApiError):
    """The id is well formed and unknown."""

    status_code = 404
    code = "not_found"


class Unavailable(ApiError):
    """PostgreSQL cannot answer now. `code` tells an absent database from one that is too slow or not set up.

    `passes`: the reason has passed with this attempt, and a second one at once may succeed (repeat.py).
    """

    status_code = 503

    def __init__(self, code: str, message: str, *, passes: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.passes = passes
