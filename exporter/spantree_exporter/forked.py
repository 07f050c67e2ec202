"""Exporters that were made of the environment, in a forked child: with connections of their own.

An OTLP exporter over HTTP keeps its connection open. The child of a fork has the same one: both would write requests
into it at a time, and either read the other's answers. What the SDK starts anew in a child are queue and thread only.
"""

from __future__ import annotations

import logging
import os
import weakref
from typing import Any, Final

from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger(__name__)

# gRPC has fork handlers of its own and cannot make a channel here; spantree's own exporter begins anew by itself.
_OVER_HTTP: Final = "opentelemetry.exporter.otlp.proto.http."

# What the parent's exporters held. To let go of a connection takes the lock of its pool, which a thread of the parent
# may have held at the fork.
_inherited: list[dict[str, Any]] = []


def connect_anew_in_children(exporter: SpanExporter) -> None:
    """Have `exporter`, made without arguments, made so once more in every child that is forked from now on."""
    if not hasattr(os, "register_at_fork") or not type(exporter).__module__.startswith(_OVER_HTTP):
        return
    weak_exporter = weakref.ref(exporter)

    def begin_in_child() -> None:
        if (inherited := weak_exporter()) is not None:
            _make_anew(inherited)

    os.register_at_fork(after_in_child=begin_in_child)


def _make_anew(exporter: SpanExporter) -> None:
    before = dict(vars(exporter))
    _inherited.append(before)
    try:
        # In place: who holds an exporter, and under which name, differs from release to release of the SDK.
        exporter.__init__()  # type: ignore[misc]
    except Exception:
        vars(exporter).update(before)
        logger.warning("this process shares its parent's connection, spans of both may be lost", exc_info=True)
