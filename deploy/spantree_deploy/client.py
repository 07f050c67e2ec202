"""The public HTTP API as the commands ask it: over the network, or in this process over the settings' database.

Asked in this order: the URL of --api-url, the server that runs on this data (running.py), the application in this
process; where no place was named and the usual one is empty, a server on the usual port. So a command answers whether
or not a server is running, and never from another database than the one that was named.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from spantree_deploy.client_tls import client_context, untrusted
from spantree_deploy.running import has_data, no_data, running_api
from spantree_deploy.settings import Settings, default_data_dir
from spantree_exporter.errors import SpantreeError, without_passwords

# A language model may be asked meanwhile.
_TIMEOUT_S: Final = 120.0
_OK: Final = 200
_PART_BYTES: Final = 256 * 1024
_REFUSAL_BYTES: Final = 64 * 1024
_BELOW_THE_API: Final = re.compile(r"/api/v1(/.*)?\Z")
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class NotAnswered(SpantreeError):
    """The API refused, or was not there. `status` is None where it was not."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


class Transport(Protocol):
    """Carries requests."""

    def get(self, target: str) -> tuple[int, bytes]:
        """(status, body) of the path with its query. Raises OSError or http.client.HTTPException."""
        ...

    def post(self, target: str) -> tuple[int, bytes]:
        """The same by POST, without a body."""
        ...

    def copy(self, target: str, write: Callable[[bytes], object]) -> tuple[int, Mapping[str, str], bytes]:
        """(status, headers by their names in lower case, the body of a refusal). Raises as `get`.

        The body of a 200 is written as it comes.
        """
        ...


class ApiClient:
    """Requests of /api/v1."""

    def __init__(self, transport: Transport, where: str) -> None:
        self._transport = transport
        self._where = without_passwords(where)

    @property
    def streams(self) -> bool:
        """Whether `copy` takes an answer that goes on for ever: over the network it does."""
        return isinstance(self._transport, HttpTransport)

    def page(self, path: str) -> str | None:
        """Where a browser finds a page, without a user or password; None where no server runs."""
        return f"{self._transport.base}{path}" if isinstance(self._transport, HttpTransport) else None

    def get(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The JSON of `GET /api/v1/{path}`; None leaves a parameter out, a list repeats it. Raises NotAnswered."""
        return self._json(self._transport.get, _target(path, parameters))

    def post(self, path: str) -> Any:
        """The JSON of `POST /api/v1/{path}` without a body. Raises NotAnswered."""
        return self._json(self._transport.post, _target(path, {}))

    def _json(self, send: Callable[[str], tuple[int, bytes]], target: str) -> Any:
        try:
            status, body = send(target)
        except (OSError, http.client.HTTPException) as error:
            raise self._absent(error) from error
        if status == _OK:
            try:
                return json.loads(body)
            except ValueError:
                pass
        raise NotAnswered(_message(status, body, self._where), status)

    def copy(self, path: str, parameters: Mapping[str, Any], write: Callable[[bytes], object]) -> Mapping[str, str]:
        """Write the body of `GET /api/v1/{path}` as it comes; its headers. Raises NotAnswered, what `write` raises.

        Where the answer breaks off a part of it has been written.
        """
        unwritten: list[OSError] = []

        def written(part: bytes) -> None:
            try:
                write(part)
            except OSError as error:
                unwritten.append(error)
                raise

        try:
            status, headers, refusal = self._transport.copy(_target(path, parameters), written)
        except (OSError, http.client.HTTPException) as error:
            if error in unwritten:
                raise
            raise self._absent(error) from error
        if status != _OK:
            raise NotAnswered(_message(status, refusal, self._where), status)
        return headers

    def _absent(self, error: Exception) -> NotAnswered:
        if fault := untrusted(error):
            return NotAnswered(
                f"the certificate of {self._where} is not trusted: {fault}; name its authority with --ca or "
                "SPANTREE_CA, and the host that it is for with --api-url",
                None,
            )
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        scheme = self._where.partition(":")[0]
        if isinstance(error, http.client.RemoteDisconnected if scheme == "http" else ssl.SSLError):
            other = "https" if scheme == "http" else "http"
            reason += f"; does it speak {other}? then name it by {other}://"
        return NotAnswered(
            f"no API answers at {self._where} ({reason}); `spantree up` says on which address its API is: "
            "name it with --api-url or SPANTREE_API_URL",
            None,
        )


class HttpTransport:
    """One connection after the other to the server of a URL, which may have a path, a user and a password."""

    def __init__(self, url: str, token: str | None = None, context: ssl.SSLContext | None = None) -> None:
        """`context`: what an https server is met with; None: as public ones are."""
        self._context = context
        parts = urlsplit(url)
        # `spantree up` prints the address of a list, which is as good as the server's own.
        self._prefix = _BELOW_THE_API.sub("", parts.path).rstrip("/")
        self._is_tls = parts.scheme == "https"
        try:
            self._host, self._port = _host_and_port(parts)
        except ValueError:
            # Not the reason itself: what stands where a port belongs may be a part of a password.
            raise NotAnswered(
                f"{without_passwords(url)} is no URL that can be asked: wanted one such as http://127.0.0.1:8000", None
            ) from None
        self.base = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{self._prefix}"
        self._headers = {"accept": "application/json"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        elif parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"

    def get(self, target: str) -> tuple[int, bytes]:
        """One request on a connection of its own."""
        return self._send("GET", target)

    def post(self, target: str) -> tuple[int, bytes]:
        """One request on a connection of its own."""
        return self._send("POST", target)

    def _send(self, method: str, target: str) -> tuple[int, bytes]:
        connection, target = self._connection(self._prefix + target)
        try:
            connection.request(method, target, headers=self._headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def copy(self, target: str, write: Callable[[bytes], object]) -> tuple[int, Mapping[str, str], bytes]:
        """One request on a connection of its own."""
        connection, target = self._connection(self._prefix + target)
        try:
            connection.request("GET", target, headers=self._headers)
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            if response.status != _OK:
                return response.status, headers, response.read(_REFUSAL_BYTES)
            while part := response.read1(_PART_BYTES):
                write(part)
            return response.status, headers, b""
        finally:
            connection.close()

    def _connection(self, target: str) -> tuple[http.client.HTTPConnection, str]:
        proxy = self._proxy()
        if proxy is None:
            return self._to(self._host, self._port), target
        try:
            connection = self._to(*_host_and_port(urlsplit(proxy if "://" in proxy else f"http://{proxy}")))
        except ValueError:
            name = f"{'https' if self._is_tls else 'http'}_proxy"
            raise NotAnswered(
                f"{name} is set to no address of a proxy: wanted one such as http://proxy.example:3128, or unset it",
                None,
            ) from None
        port = f":{self._port}" if self._port else ""
        if self._is_tls:
            connection.set_tunnel(self._host, self._port)
            return connection, target
        return connection, f"http://{self._host}{port}{target}"

    def _to(self, host: str, port: int | None) -> http.client.HTTPConnection:
        if self._is_tls:
            return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=self._context)
        return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)

    def _proxy(self) -> str | None:
        scheme = "https" if self._is_tls else "http"
        if self._host in _LOOPBACK or not any(name.lower() == f"{scheme}_proxy" for name in os.environ):
            return None
        from urllib.request import getproxies, proxy_bypass

        return None if proxy_bypass(self._host) else getproxies().get(scheme)


def _host_and_port(parts: SplitResult) -> tuple[str, int | None]:
    """Raises ValueError, which UnicodeError is one of, where either is none."""
    host = parts.hostname or ""
    host.encode("idna")  # as whoever looks it up does
    return host, parts.port


@contextmanager
def api_at(url: str, settings: Settings) -> Iterator[ApiClient]:
    """The API that listens at `url`, asked with the token of the settings, and as they say over https."""
    yield ApiClient(HttpTransport(url, settings.token, _context(settings, url)), url)


def server_of(settings: Settings) -> str | None:
    """The URL of a running API: the one that is named, that of the server on this data, else what is on the usual port.

    None where there is none; on the usual port none is looked for where a place was named.
    """
    url = settings.api_url or running_api(settings)
    if url is None and settings.is_embedded and settings.data_dir == default_data_dir(os.environ):
        usual = settings.own_api_url
        return usual if _is_spantree(usual, settings) else None
    return url


@contextmanager
def api_of(settings: Settings) -> Iterator[ApiClient]:
    """The API that `api_url` names, else that of the server on this data, else the application in this process."""
    url = settings.api_url or running_api(settings)
    if url is not None:
        with api_at(url, settings) as api:
            yield api
        return
    if not has_data(settings):
        usual = settings.own_api_url
        if settings.data_dir == default_data_dir(os.environ) and _is_spantree(usual, settings):
            # Of a demo, a container, another account: no place was named, so there is nothing to mistake it for.
            with api_at(usual, settings) as api:
                yield api
            return
        raise no_data(settings, "--data, --database-url or --api-url")
    try:
        from spantree_deploy.in_process import transport_of
    except ModuleNotFoundError as error:
        raise SpantreeError(
            f"no server is running on this data, and {error.name}, which reading the database itself needs, "
            'is not installed: start `spantree up`, name an API with --api-url, or pip install "spantree[server]"'
        ) from error
    with transport_of(settings) as transport:
        yield ApiClient(transport, "this process")


def _context(settings: Settings, url: str) -> ssl.SSLContext | None:
    return client_context(settings, url, [settings.api_tls_certificate or settings.tls_certificate])


def _is_spantree(url: str, settings: Settings) -> bool:
    try:
        status, body = HttpTransport(url, context=_context(settings, url)).get("/readyz")
        return status == _OK and json.loads(body) == {"status": "ready"}
    except (OSError, http.client.HTTPException, ValueError):
        return False


def _target(path: str, parameters: Mapping[str, Any] | None) -> str:
    query = urlencode({name: _text(value) for name, value in (parameters or {}).items() if value is not None}, True)
    return f"/api/v1/{quote(path)}" + (f"?{query}" if query else "")


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _message(status: int, body: bytes, where: str) -> str:
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    match answer:
        case {"error": {"code": "unauthorized", "message": str(message)}}:
            return f"{message} (commands send the one that SPANTREE_TOKEN holds)"
        case {"error": {"message": str(message)}}:
            return message
        case {"spool": _} | {"code": int(), "message": str()}:
            return f"{where} is where spantree takes in spans (OTLP); its API is on another port, 8000 by default"
    shown = " ".join(body.decode(errors="replace").split())[:200]
    return f"{where} answered {status}, which is no answer of spantree's API: {shown}"
