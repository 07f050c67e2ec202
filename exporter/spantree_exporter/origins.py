"""Origins of pages that may ask from a browser (RFC 6454; Fetch Standard, "CORS protocol"). Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from spantree_exporter.setting_values import listed

ANY_ORIGIN: Final = "*"


def origins_of(text: str) -> tuple[str, ...]:
    """Those of a setting, with commas between. Raises ValueError that names the first one that is none."""
    found = tuple(listed(text))
    for origin in found:
        if origin != ANY_ORIGIN and not is_origin(origin):
            raise ValueError(
                f'"{origin[:80]}" is no origin: wanted scheme, host and port, such as https://app.example, or * for all'
            )
    return found


def is_origin(text: str) -> bool:
    """Whether it is one as browsers write it: scheme, host, and the port where it is not the scheme's."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or "*" in parts.netloc:
        return False
    return text == f"{parts.scheme}://{parts.netloc.lower()}"
