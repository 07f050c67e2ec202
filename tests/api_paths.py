"""The paths of the API as the application has them: a route that is added is tried without being named here."""

from __future__ import annotations

import re
from typing import Final

from spantree_api.app import create_app
from spantree_api.config import ApiConfig

OPEN: Final = {"/healthz", "/readyz", "/login", "/login/oidc", "/login/callback", "/login/tenant", "/logout"}
"""What everybody is answered."""


def paths_of_the_api(trace: str) -> list[tuple[str, str]]:
    """Every method and path that wants somebody to be known, with values that are well formed and of `trace`."""
    values = {"execution_id": trace, "a": trace, "b": trace, "trace_id": trace, "span_id": "0" * 15 + "1"}
    found = []
    for included in create_app(ApiConfig()).routes:
        contexts = getattr(included, "effective_route_contexts", list)
        for route in [*contexts(), *([included] if not contexts() else [])]:
            path = re.sub(r"\{(\w+)(:\w+)?\}", lambda name: values.get(name[1], "x"), route.path)
            methods = route.methods or ()
            found += [(method, path) for method in sorted(methods) if method != "HEAD"]
    return [(method, path) for method, path in found if path not in OPEN and not path.startswith("/static")]
