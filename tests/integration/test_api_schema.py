"""Requests made of the OpenAPI document: no 5xx, answers as described, refusals in the one shape.

A few of each operation here; a long run, with other ones each time:

    SCHEMA_EXAMPLES=500 .venv/bin/pytest tests/integration/test_api_schema.py
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from tests.api_rows import T0_NS, S, insert, node, trace
from tests.api_server import api_over, ok, refused
from tests.postgres import new_database

from spantree_api.app import create_app
from spantree_api.config import ApiConfig
from spantree_exporter.rows import Edge

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "0"))
# They end when their client goes; tests/integration/test_api_stream.py has their own.
ENDLESS = ("/stream",)
OPERATIONS = sorted(
    (path, method.upper())
    for path, operations in create_app(ApiConfig()).openapi()["paths"].items()
    for method in operations
    if not path.endswith(ENDLESS)
)


@pytest.fixture(scope="module")
def api(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    """A few executions whose texts a schema's examples may meet."""
    with new_database(postgres_url, template=_migrated_template) as url:
        insert(
            url,
            *(
                trace(
                    number,
                    [node(1, "0"), node(2, "", 1, status="failed" if number % 2 else "completed", model="0")],
                    [Edge(1, 0, 2, 0, "conditional", "0", "declared")],
                    status="failed" if number % 2 else "completed",
                    started_ns=T0_NS - number * 1_000 * S,
                    workflow_name="0",
                    project="0",
                    user_id="0",
                    run_id="0",
                    conversation_id="0",
                    error_fingerprint="0" if number % 2 else None,
                    first_failed_span_id=2 if number % 2 else None,
                    first_failed_ordinal=0,
                )
                for number in range(4)
            ),
        )
        with api_over(url) as client:
            yield client


@pytest.fixture(scope="module")
def schema(api: httpx.Client) -> Any:
    document = ok(api.get("/api/v1/openapi.json"))
    made = schemathesis.openapi.from_dict(document)
    made.config.update(base_url=str(api.base_url))
    return made


@pytest.mark.timeout(3_600 if EXAMPLES else 60)
@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=[f"{method} {path}" for path, method in OPERATIONS])
def test_an_operation_answers_as_its_document_says(api: httpx.Client, schema: Any, path: str, method: str) -> None:
    operation = schema[path][method]
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        _ask(api, operation, mode)


def test_a_body_that_is_no_text_is_refused_as_any_other(api: httpx.Client) -> None:
    sent = {"content-type": "application/json"}
    response = api.patch("/api/v1/failures/groups/0", content=b"+\xff", headers=sent)
    assert refused(response) == (422, "invalid_parameter", "the body cannot be read: wanted JSON in UTF-8")


def _ask(api: httpx.Client, operation: Any, mode: GenerationMode) -> None:
    @settings(
        max_examples=EXAMPLES or 2,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        response = case.call()
        case.validate_response(
            response, checks=[not_a_server_error, response_schema_conformance, status_code_conformance]
        )
        if response.status_code >= 400:
            body = response.json()
            assert set(body) == {"error"}, body
            assert set(body["error"]) == {"code", "message", "details"}, body

    with contextlib.suppress(Unsatisfiable):  # without a parameter nothing can be wrong with a request
        one()
