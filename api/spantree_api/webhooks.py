"""POSTs to addresses that somebody gave: never to this machine or its network, unless a setting names the host.

The host is resolved, every address that it has is looked at, and the connection is made to one of those: a name that
answers differently the next time, a redirect or a proxy changes nothing about where the request goes.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import socket
import ssl
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final
from urllib.parse import SplitResult, urlsplit

import h11

from spantree_exporter.errors import SpantreeError

_DEADLINE_S: Final = 10.0
_READ_BYTES: Final = 4_096
_HEAD_BYTES: Final = 32_768
_URL_CHARS: Final = 2_000
_ADDRESSES: Final = 4
_ERROR_CHARS: Final = 300
# IPv6 that carries an IPv4 address: NAT64 (RFC 6052), 6to4 (RFC 3056).
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_LOCAL_NAT64: Final = ipaddress.ip_network("64:ff9b:1::/48")
# Of no host of the Internet, though `is_global` of some Python versions says so: protocol assignments (RFC 6890), among
# them a cloud's metadata, and the address at which Azure answers its machines.
_OF_NO_HOST: Final = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("168.63.129.16/32"))

_RESOLVERS: Final = 8
# Reading the authorities takes 40 ms of the processor, for each of sixteen messages that are sent at a time.
_AUTHORITIES_S: Final = 3_600
_ANY_PORT: Final = 9
_INSIDE: Final = "inside of some network"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class WebhookRefused(SpantreeError):
    """The address is none that may be asked. The text says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt. `status`: of the answer, None for none; `error`: None where it was taken."""

    status: int | None
    error: str | None

    @property
    def delivered(self) -> bool:
        """Whether the receiver has it."""
        return self.error is None


def resolvers() -> ThreadPoolExecutor:
    """Threads that resolve names: those whose servers never answer hold them, and none that others wait for."""
    return ThreadPoolExecutor(max_workers=_RESOLVERS, thread_name_prefix="spantree-webhook-names")


NOBODYS_NAMES: Final = resolvers()
"""For what is sent while somebody waits for its outcome."""


def checked_url(url: str, allowed_hosts: Collection[str] = ()) -> SplitResult:
    """The parts of a URL that may be asked, as far as it tells by itself. Raises WebhookRefused."""
    if len(url) > _URL_CHARS or not url.isascii() or not url.isprintable() or " " in url:
        raise WebhookRefused(f"the URL is too long or has characters of no URL: wanted up to {_URL_CHARS} of ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise WebhookRefused(f"this is no URL ({error}): wanted one such as https://hooks.example.com/alerts") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise WebhookRefused("wanted a URL that begins with https:// or http:// and names a host")
    if parts.username is not None or parts.password is not None:
        raise WebhookRefused("the URL holds a user or password: wanted one without, messages are signed instead")
    if port == 0:
        raise WebhookRefused("the URL names port 0: wanted one from 1 to 65535")
    with suppress(ValueError):
        address = ipaddress.ip_address(parts.hostname)
        if parts.hostname not in allowed_hosts and is_private(address):
            raise WebhookRefused(_refusal(parts.hostname))
    return parts


def is_private(address: Address) -> bool:
    """Whether an address is of this machine, its network, a cloud's metadata, a group: of no host of the Internet."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_private(inner)
        if address in _LOCAL_NAT64 or address.teredo is not None or address.is_site_local:
            return True
    if any(address in network for network in _OF_NO_HOST):
        return True
    return not address.is_global or address.is_multicast or address.is_reserved or address.is_unspecified


def is_own(address: Address) -> bool:
    """Whether it is one of this machine itself, as the public one of a rented server is: the way to it begins there.

    Nothing is sent.
    """
    family = socket.AF_INET6 if isinstance(address, ipaddress.IPv6Address) else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect((str(address), _ANY_PORT))
        return ipaddress.ip_address(probe.getsockname()[0]) == address
    return False


def signature(secret: str, body: bytes) -> str:
    """The value of X-Spantree-Signature."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def post(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    allowed_hosts: Collection[str] = (),
    names: Executor = NOBODYS_NAMES,
) -> Outcome:
    """One attempt, ten seconds at most. Never raises; redirects are not followed, and are no success.

    `names`: the threads that its host is resolved by.
    """
    try:
        async with asyncio.timeout(_DEADLINE_S):
            parts = checked_url(url, allowed_hosts)
            status = await _exchange(parts, headers, body, await _addresses(parts, allowed_hosts, names))
    except TimeoutError:
        return Outcome(None, f"no answer within {_DEADLINE_S:g} s")
    except WebhookRefused as error:
        return Outcome(None, str(error))
    except (OSError, h11.ProtocolError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Outcome(None, f"{type(error).__name__}: {reason}"[:_ERROR_CHARS])
    if 200 <= status < 300:
        return Outcome(status, None)
    return Outcome(status, f"the receiver answered {status}: wanted 2xx")


async def _addresses(parts: SplitResult, allowed_hosts: Collection[str], names: Executor) -> list[str]:
    """The host's addresses, all of which may be asked. Raises WebhookRefused, OSError."""
    host = parts.hostname or ""
    look_up = partial(socket.getaddrinfo, host, _port(parts), type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(names, look_up)
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
    if host not in allowed_hosts:
        for text in addresses:
            address = ipaddress.ip_address(text.partition("%")[0])
            if is_private(address) or is_own(address):
                named = host if host == text else f"{host}, which is {address},"
                raise WebhookRefused(_refusal(named, _INSIDE if is_private(address) else "this machine"))
    return addresses[:_ADDRESSES]


async def _exchange(parts: SplitResult, headers: Mapping[str, str], body: bytes, addresses: Collection[str]) -> int:
    """Send the request to the first address that takes a connection; the answer's status."""
    tls = None
    if parts.scheme == "https":
        tls = _authorities(int(time.monotonic() // _AUTHORITIES_S))
    reader, writer = await _connected(parts, addresses, tls)
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_BYTES)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"host": parts.netloc, "connection": "close", "content-length": str(len(body)), **headers}
        request = h11.Request(method="POST", target=target, headers=list(sent.items()))
        for event in (request, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        await writer.drain()
        left = _HEAD_BYTES
        while True:
            event_in = connection.next_event()
            if event_in is h11.NEED_DATA:
                if left <= 0:
                    # Of the answers before it, too, of which there could be any number.
                    raise ConnectionAbortedError(f"the head of the answer has more than {_HEAD_BYTES} bytes")
                received = await reader.read(_READ_BYTES)
                left -= len(received)
                connection.receive_data(received)
            elif isinstance(event_in, h11.Response):
                return event_in.status_code
            elif isinstance(event_in, h11.ConnectionClosed):
                raise ConnectionResetError("the receiver closed the connection without an answer")
    finally:
        writer.transport.abort()


async def _connected(
    parts: SplitResult, addresses: Collection[str], tls: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    failed: OSError = ConnectionRefusedError("the host has no address")
    for address in addresses:
        try:
            return await asyncio.open_connection(
                address, _port(parts), ssl=tls, server_hostname=parts.hostname if tls else None, limit=_HEAD_BYTES
            )
        except OSError as error:
            failed = error
    raise failed


@lru_cache(maxsize=1)
def _authorities(period: int) -> ssl.SSLContext:
    """Whom to trust, read anew in each period."""
    return ssl.create_default_context()


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _refusal(receiver: str, where: str = _INSIDE) -> str:
    return (
        f"{receiver} is {where} and not on the Internet, wanted a receiver that is: name another, or "
        "allow this one by SPANTREE_API_ALERT_PRIVATE_HOSTS"
    )
