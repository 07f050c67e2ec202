"""docs/api.md tells of every path of the API and of every query parameter."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from spantree_api.app import create_app
from spantree_api.config import ApiConfig
from spantree_api.routes.api_router import BASE

DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"
# Shown in the first paragraph, as what describes all others.
_DESCRIBED = {"limit", "cursor"}


def _paths() -> dict[str, dict[str, Any]]:
    """Operations by their path, without the base and with unnamed parameters."""
    found: dict[str, dict[str, Any]] = create_app(ApiConfig()).openapi()["paths"]
    return {_unnamed(path.removeprefix(BASE)): operations for path, operations in found.items()}


def _unnamed(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


def test_every_path_is_told() -> None:
    told = {_unnamed(path) for path in re.findall(r"`(?:[A-Z]+ )?(/[^`? ]*)", DOCUMENT.read_text(encoding="utf-8"))}
    missing = sorted(set(_paths()) - told)
    assert not missing, f"docs/api.md does not tell of {', '.join(missing)}: add a row to 'What there is'"


def test_every_query_parameter_is_told() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    told = set(re.findall(r"[`?&\[]([a-z][a-z0-9_]*)[`=\]]", text))
    missing = sorted(
        f"{parameter['name']} of {path}"
        for path, operations in _paths().items()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
        if parameter["in"] == "query" and parameter["name"] not in told | _DESCRIBED
    )
    assert not missing, f"docs/api.md does not tell of {', '.join(missing)}: write what each does, as `name` or `name=`"
