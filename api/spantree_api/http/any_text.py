"""Names in paths: they are the senders' words, so they may hold slashes and ends of lines."""

from __future__ import annotations

from starlette.convertors import PathConvertor, register_url_convertor


class _AnyText(PathConvertor):
    """Starlette's `path` with `.` for every character: its own ends where a line does, and such a name has no page."""

    regex = "(?s:.*)"


# In the place of Starlette's own, so that templates read alike in metrics and in the own audit.
register_url_convertor("path", _AnyText())


def any_text(parameter: str) -> str:
    """That part of a route's path whose parameter takes any text."""
    return f"{{{parameter}:path}}"
