"""The API and its pages below a path of another server's, such as https://example.org/spantree.

Inside, all paths are as they are without one: a request loses the prefix on its way in, whether or not the proxy took
it off before, and what leads a browser somewhere gets it on its way out.

    /spantree/executions, or /executions  ->  /executions         requests
    href="/executions"                    ->  /spantree/executions   pages (with_prefix)
    Location: /login                      ->  /spantree/login        redirects; they never name a host of ours,
                                                                     and what names one is another's, on any host
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What pages name addresses in. Of texts that are data no quotation mark is left as it is.
_ADDRESS: Final = re.compile(r'(?<=\s)(href|src|action|data-from|data-follow|data-live|data-stream)="(?=/)')


# Ours are 303; the router's lead from /executions/ to /executions.
_BY_ROUTER: Final = 307


def with_prefix(page: str, prefix: str) -> str:
    """A page of ours whose links lead to where browsers find us."""
    return _ADDRESS.sub(rf'\1="{prefix}', page) if prefix else page


class PathPrefix:
    """ASGI middleware around everything that knows of paths. `prefix` is as in PeopleSettings."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix
        self._raw = prefix.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the application's start and stop."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_led(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if (location := headers.get("location")) is not None:
                    headers["location"] = self._led(location, by_router=message["status"] == _BY_ROUTER)
            await send(message)

        await self._app(self._below(scope), receive, send_led)

    def _below(self, scope: Scope) -> Scope:
        path: str = scope["path"]
        raw: bytes = scope.get("raw_path") or b""
        if not self._prefix or not f"{path}/".startswith(f"{self._prefix}/") or not raw.startswith(self._raw):
            return scope
        return {**scope, "path": path[len(self._prefix) :] or "/", "raw_path": raw[len(self._raw) :] or b"/"}

    def _led(self, location: str, *, by_router: bool) -> str:
        if by_router:
            # It names scheme and host; a proxy in front may have others. Two slashes would begin a host.
            parts = urlsplit(location)
            location = "/" + parts._replace(scheme="", netloc="").geturl().lstrip("/")
        return f"{self._prefix}{location}" if location.startswith("/") else location
