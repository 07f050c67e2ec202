"""docs/api.md tells of every path of the API, of every query parameter and of every error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from spantree_api.app import create_app
from spantree_api.config import ApiConfig
from spantree_api.http.openapi_texts import EXAMPLES, FIELD_TEXTS
from spantree_api.routes.api_router import BASE

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "api.md"
SOURCES = ROOT / "api" / "spantree_api"
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


def test_openapi_describes_every_parameter_and_every_field() -> None:
    document = create_app(ApiConfig()).openapi()
    parameters = [
        f"{method.upper()} {path} {parameter['name']}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for parameter in operation.get("parameters", ())
        if not parameter.get("description")
    ]
    schemas = document["components"]["schemas"]
    fields = [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, declared in schema.get("properties", {}).items()
        if not declared.get("description")
    ]
    nameless = [name for name, schema in schemas.items() if not schema.get("description")]
    told = "a text below the field (`@documented`), or, where it is the same everywhere, in openapi_texts.py"
    assert (parameters, fields, nameless) == ([], [], []), f"add a description: {told}"


def test_no_text_is_of_a_field_that_is_none() -> None:
    schemas = create_app(ApiConfig()).openapi()["components"]["schemas"]
    fields = {(name, field) for name, schema in schemas.items() for field in schema.get("properties", {})}
    names = {f"{name}.{field}" for name, field in fields} | {field for _, field in fields}
    parameters = {"min_duration_ms", "max_duration_ms", "until", "q"}  # not answered
    assert sorted(set(FIELD_TEXTS) - names) == []
    assert sorted(set(EXAMPLES) - names - parameters) == []


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


def test_every_error_is_told() -> None:
    sources = [path.read_text(encoding="utf-8") for path in sorted(SOURCES.rglob("*.py"))]
    given = set(re.findall(r'Unavailable\(\s*"([a-z_]+)"|^    code = "([a-z_]+)"', "\n".join(sources), re.MULTILINE))
    codes = {code for pair in given for code in pair if code}
    assert {"not_found", "query_timeout"} < codes
    table = "\n".join(
        line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if re.match(r"\| [45]\d\d \|", line)
    )
    # Of gRPC, which has no such codes.
    missing = sorted(codes - set(re.findall(r"`([a-z_]+)`", table)) - {"overloaded"})
    assert not missing, f"docs/api.md does not tell of {', '.join(missing)}: add a row to 'Errors'"
