"""How collectors are doing, by their own word: GET /readyz of each that SPANTREE_API_COLLECTOR_URLS names."""

from __future__ import annotations

import asyncio
import functools
import ssl
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from typing import Final
from urllib.parse import urlsplit

import orjson
from starlette.concurrency import run_in_threadpool

from spantree_api.answers.health import CollectorState
from spantree_api.health import collector_state
from spantree_exporter.tokens import LOOPBACK

_TIMEOUT_S: Final = 2.0
_ANSWER_MAX_BYTES: Final = 256 * 1024


async def collector_states(urls: Sequence[str]) -> list[CollectorState]:
    """The state of each, in their order; one that does not answer within two seconds is down."""
    return list(await asyncio.gather(*(run_in_threadpool(_state, url) for url in urls)))


def _state(url: str) -> CollectorState:
    try:
        opener = _opener(is_verifying=urlsplit(url).hostname not in LOOPBACK)
        # 503 is an answer as 200 is: the spool is full, or failed.
        with opener.open(f"{url.rstrip('/')}/readyz", timeout=_TIMEOUT_S) as answer:
            body = answer.read(_ANSWER_MAX_BYTES)
    except (OSError, ValueError, HTTPException) as error:
        return collector_state(url, None, f"does not answer: {getattr(error, 'reason', None) or error}")
    try:
        return collector_state(url, orjson.loads(body), "")
    except orjson.JSONDecodeError:
        return collector_state(url, None, "")


@functools.cache
def _opener(*, is_verifying: bool) -> urllib.request.OpenerDirector:
    """Without a proxy, which the environment may name for the world outside, and without following redirects.

    On this machine's own address a certificate is for another name, and nobody stands between.
    """
    context = ssl.create_default_context()
    if not is_verifying:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.HTTPHandler())
    opener.add_handler(urllib.request.HTTPSHandler(context=context))
    return opener
