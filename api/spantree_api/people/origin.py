"""Whether a request comes from a page of our own, and where a browser may be led. Pure.

Browsers say where a request comes from (Sec-Fetch-Site of Fetch Metadata, W3C; Origin, RFC 6454); what somebody's page
makes a browser send cannot say otherwise. Sec-Fetch-Site is sent to https and to this machine only, Origin with every
request that may change something.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

# One slash and then neither / nor \, which browsers take for the same; no control character, which they drop.
_OWN_PATH: Final = re.compile(r"/(?![/\\])[\x20-\x7e]*")
_PATH_MAX: Final = 2_000


def comes_from_own_page(headers: Mapping[bytes, bytes], own: Collection[str]) -> bool | None:
    """Whether the browser says that a page of one of the origins `own` asks; None: nothing is said.

    `own` are as in Origin: scheme, host, and the port where it is not the scheme's.
    """
    if (site := headers.get(b"sec-fetch-site")) is not None:
        return site == b"same-origin"
    if (origin := headers.get(b"origin")) is not None:
        return origin.decode("latin-1").lower() in own
    return None


def own_path(wanted: str | None) -> str:
    """`wanted` where it is a path of our own, else `/`: a link must not lead through us to somewhere else."""
    if wanted is None or len(wanted) > _PATH_MAX or not _OWN_PATH.fullmatch(wanted):
        return "/"
    return wanted


def origin_of(scheme: str, host: str) -> str:
    """As a browser writes it."""
    usual = {"http": ":80", "https": ":443"}.get(scheme, "")
    return f"{scheme}://{host.lower().removesuffix(usual)}"
