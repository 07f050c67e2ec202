"""Django's instrumentation, put off until the settings of the project are there.

`DjangoInstrumentor` adds a middleware to `settings.MIDDLEWARE`, so it reads the settings. Before the program has begun
they cannot be read: `manage.py` has not named them yet, and the project's folder is not in sys.path. It then makes
empty ones by `settings.configure()`, and with those no project runs at all.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any

logger = logging.getLogger(__name__)


def wait_for_settings() -> None:
    """Have `DjangoInstrumentor().instrument()` do its work as soon as the settings are there, and not before.

    Nothing happens where Django or its instrumentation is not installed, or cannot be imported: who loads it says so.
    """
    with contextlib.suppress(Exception):
        settings: Any = import_module("django.conf").settings
        instrumentor: Any = import_module("opentelemetry.instrumentation.django").DjangoInstrumentor
        instrument = instrumentor._instrument

        def instrument_then(self: Any, **options: Any) -> None:
            if settings.configured:
                instrument(self, **options)
            else:
                _call_when_set(settings, lambda: instrument(self, **options))

        instrumentor._instrument = instrument_then


def _call_when_set(settings: Any, then: Callable[[], None]) -> None:
    """Call `then` once, when `settings` have been read from their module or were given by `configure`."""
    waiting = [then]

    def telling(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(self: Any, *arguments: Any, **named: Any) -> Any:
            result = method(self, *arguments, **named)
            if self is settings and waiting:
                try:
                    waiting.pop()()
                except Exception as error:
                    logger.warning("Django is not traced: %s: %s", type(error).__name__, error)
            return result

        return call

    kind = type(settings)
    kind._setup, kind.configure = telling(kind._setup), telling(kind.configure)
