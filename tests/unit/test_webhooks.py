"""Where webhooks may go, and what becomes of one that does not get there."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from typing import Any

import pytest

from spantree_api import webhooks
from spantree_api.webhooks import Outcome, WebhookRefused, checked_url, is_own, is_private, post, signature

PRIVATE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
    "fd00:ec2::254", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1", "2002:7f00:1::", "2001::1", "fec0::1", "2001:db8::1", "::127.0.0.1",
    "192.0.0.192", "168.63.129.16", "::ffff:192.0.0.192",
]  # fmt: skip


def test_no_address_of_ones_own_network_may_be_asked() -> None:
    assert [one for one in PRIVATE if not is_private(ipaddress.ip_address(one))] == []
    public = ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
    assert [one for one in public if is_private(ipaddress.ip_address(one))] == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x", "http://[::1]/", "https://u:p@example.com/", "file:///etc/passwd", "https://", "x",
        "http://example.com:99999/", "http://example.com:0/", "http://exa mple.com/", "http://ex\nample.com/",
        "https://example.com/" + "x" * 2_000, "gopher://example.com/", "http://é.example.com/",
    ],
)  # fmt: skip
def test_what_is_no_url_of_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(WebhookRefused):
        checked_url(url)
    assert checked_url("http://127.0.0.1:81/x?y", {"127.0.0.1"}).port == 81


@pytest.mark.parametrize("addresses", [["10.0.0.5"], ["93.184.216.34", "127.0.0.1"], ["::1"], ["fe80::1%eth0"]])
def test_a_name_is_refused_for_any_of_its_addresses(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def resolved(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    async def connected(*_: Any, **__: Any) -> None:
        raise AssertionError("it connects all the same")

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setattr(asyncio, "open_connection", connected)
    outcome = asyncio.run(post("https://hooks.example.com/x", {}, b"{}"))
    assert outcome.status is None
    private = addresses[-1].partition("%")[0]
    assert f"hooks.example.com, which is {private}, is inside of some network" in (outcome.error or "")


def test_a_public_address_of_the_machine_itself_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a rented server has one, and as if 127.0.0.1 were it."""
    assert is_own(ipaddress.ip_address("127.0.0.1"))
    assert not is_own(ipaddress.ip_address("8.8.8.8"))
    monkeypatch.setattr(webhooks, "is_private", lambda address: False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        outcome = asyncio.run(post(f"http://127.0.0.1:{port}/x", {}, b"{}"))
        assert outcome.status is None and "127.0.0.1 is this machine and not on" in (outcome.error or "")
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


async def _answering(
    answer: bytes, asked: list[bytes], ended: asyncio.Event, *, close: bool
) -> tuple[asyncio.Server, str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append(await reader.readuntil(b"}"))
            writer.write(answer)
            await writer.drain()
            if not close:
                await reader.read()
        finally:
            writer.close()
            ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?x=1"


def _posted(answer: bytes, *, close: bool = True) -> tuple[Outcome, list[bytes]]:
    async def attempt() -> tuple[Outcome, list[bytes]]:
        asked: list[bytes] = []
        ended = asyncio.Event()
        server, url = await _answering(answer, asked, ended, close=close)
        async with server:
            outcome = await post(url, {"idempotency-key": "k"}, b"{}", {"127.0.0.1"})
            await ended.wait()
            await asyncio.sleep(0)  # the transport closes in the next turn of the loop
            return outcome, asked

    return asyncio.run(attempt())


def test_a_receiver_that_takes_it_has_it() -> None:
    outcome, [asked] = _posted(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert outcome == Outcome(204, None)
    assert asked.startswith(b"POST /hook?x=1 HTTP/1.1\r\n")
    assert b"idempotency-key: k\r\n" in asked and asked.endswith(b"\r\n\r\n{}")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\r\n", 302),
        (b"HTTP/1.1 500 No\r\n\r\n", 500),
        (b"", None),
        (b"SSH-2.0-OpenSSH_9\r\n", None),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000, None),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000 + b"HTTP/1.1 200 OK\r\n\r\n", None),
    ],
)
def test_every_other_answer_is_none(answer: bytes, status: int | None) -> None:
    outcome, asked = _posted(answer)
    assert (outcome.status, outcome.delivered, len(asked)) == (status, False, 1)
    assert outcome.error


def test_a_receiver_that_never_answers_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_DEADLINE_S", 0.2)
    outcome, _ = _posted(b"HTTP/1.1 2", close=False)
    assert outcome == Outcome(None, "no answer within 0.2 s")


def test_authorities_are_not_read_for_each_message(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def reading() -> ssl.SSLContext:
        read.append("")
        return context

    monkeypatch.setattr(ssl, "create_default_context", reading)
    webhooks._authorities.cache_clear()
    for _ in range(3):
        asyncio.run(post("https://127.0.0.1:1/x", {}, b"{}", {"127.0.0.1"}))
    webhooks._authorities.cache_clear()
    assert len(read) == 1


def test_a_body_is_signed() -> None:
    # RFC 4231, test case 2.
    expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert signature("Jefe", b"what do ya want for nothing?") == expected
