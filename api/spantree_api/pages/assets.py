"""Style sheets and scripts: read once, compressed once, kept by browsers for ever under a name made of their content.

The name holds one hash over all files, so that modules import each other by relative paths without a build step.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib import resources

from fastapi import APIRouter, Request, Response

from spantree_api.http.compression import takes_gzip

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    media_type: str
    plain: bytes
    compressed: bytes


def _read() -> dict[str, Asset]:
    found: dict[str, Asset] = {}
    folder = resources.files("spantree_api.pages") / "static"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        media_type = _TYPES.get(file.name.rpartition(".")[2])
        if media_type is not None:
            plain = file.read_bytes()
            found[file.name] = Asset(media_type, plain, gzip.compress(plain, 9, mtime=0))
    return found


ASSETS = _read()
VERSION = hashlib.sha256(b"".join(name.encode() + asset.plain for name, asset in ASSETS.items())).hexdigest()[:12]
router = APIRouter(include_in_schema=False)


def asset_path(name: str) -> str:
    """Where `name` is served. Raises KeyError for a file that is not there."""
    if name not in ASSETS:
        raise KeyError(name)
    return f"/static/{VERSION}/{name}"


@router.get("/static/{version}/{name}")
async def get_asset(request: Request, version: str, name: str) -> Response:
    """One file; of another version than this server's it is not to be kept."""
    asset = ASSETS.get(name)
    if asset is None:
        return Response(status_code=404)
    headers = {
        "cache-control": _FOR_EVER if version == VERSION else "no-store",
        "vary": "accept-encoding",
        "cross-origin-resource-policy": "same-origin",
    }
    if takes_gzip(request.headers.get("accept-encoding", "")):
        return Response(asset.compressed, media_type=asset.media_type, headers=headers | {"content-encoding": "gzip"})
    return Response(asset.plain, media_type=asset.media_type, headers=headers)
