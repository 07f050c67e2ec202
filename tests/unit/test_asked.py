"""What a request is to the own audit, by its method and route."""

from __future__ import annotations

from typing import get_args

import pytest

from spantree_api.app import create_app, templates_of
from spantree_api.asked import Asked, Templates, asked, asked_by_call
from spantree_api.config import ApiConfig
from spantree_exporter.own_audit_event import Level

RULE = "0b9d2c1e-0000-0000-0000-000000000001"
CASES: list[tuple[str, str, dict[str, str], Asked | None]] = [
    ("GET", "/healthz", {}, None),
    ("GET", "/login", {}, None),
    ("POST", "/login", {}, Asked("change", "login", None, None)),
    ("GET", "/login/callback", {}, Asked("change", "login", None, None)),
    ("GET", "/static/{version}/{name}", {"version": "1", "name": "a.js"}, None),
    ("GET", "/api/v1/executions", {}, Asked("list", "list", None, None)),
    ("GET", "/api/v1/executions/{trace_id}/tree", {"trace_id": "a1"}, Asked("content", "read", "execution", "a1")),
    ("GET", "/executions/{trace_id}", {"trace_id": "a1"}, Asked("content", "read", "execution", "a1")),
    ("GET", "/api/v1/executions/{a}/diff/{b}", {"a": "a1", "b": "b2"}, Asked("content", "read", "execution", "a1")),
    ("GET", "/api/v1/runs/{run_id:path}", {"run_id": "r/1"}, Asked("content", "read", "run", "r/1")),
    ("GET", "/jaeger/api/traces", {}, Asked("content", "read", None, None)),
    ("GET", "/api/v1/stream", {}, Asked("content", "read", None, None)),
    ("GET", "/api/v1/stats/users/{user_id:path}", {"user_id": "ann"}, Asked("list", "list", None, None)),
    ("GET", "/api/v1/export/spans", {}, Asked("export", "export", None, None)),
    ("GET", "/api/v1/export/audit/own", {}, Asked("export", "export", None, None)),
    ("GET", "/api/v1/executions/{trace_id}/otlp", {"trace_id": "a1"}, Asked("export", "export", "execution", "a1")),
    (
        "POST",
        "/api/v1/executions/{trace_id}/analyze",
        {"trace_id": "a1"},
        Asked("change", "analyze", "execution", "a1"),
    ),
    (
        "PATCH",
        "/api/v1/failures/groups/{fingerprint}",
        {"fingerprint": "f"},
        Asked("change", "update", "failure_group", "f"),
    ),
    (
        "GET",
        "/api/v1/failures/groups/{fingerprint}",
        {"fingerprint": "f"},
        Asked("list", "list", "failure_group", "f"),
    ),
    ("POST", "/api/v1/alerts/rules", {}, Asked("change", "create", "alert_rule", None)),
    ("DELETE", "/api/v1/alerts/rules/{rule_id}", {"rule_id": RULE}, Asked("change", "delete", "alert_rule", RULE)),
    ("POST", "/api/v1/alerts/rules/{rule_id}/test", {"rule_id": RULE}, Asked("change", "test", "alert_rule", RULE)),
]


@pytest.mark.parametrize(("method", "route", "parameters", "wanted"), CASES)
def test_what_a_request_is(method: str, route: str, parameters: dict[str, str], wanted: Asked | None) -> None:
    assert asked(method, route, parameters) == wanted


def test_a_call_of_jaegers_storage_api_is_told_by_each_trace_that_it_names() -> None:
    assert asked_by_call("GetTraces", ["a1", "b2", "a1"]) == [
        Asked("content", "read", "execution", "a1"),
        Asked("content", "read", "execution", "b2"),
    ]
    assert asked_by_call("GetTraces", [str(number) for number in range(101)]) == [Asked("content", "read", None, None)]
    assert asked_by_call("FindTraces", []) == [Asked("content", "read", None, None)]
    assert asked_by_call("GetServices", []) == [Asked("list", "list", None, None)]


def test_the_level_decides_which_are_told() -> None:
    told = {
        level: [
            category
            for category in ("change", "export", "content", "list")
            if Asked(category, "x", None, None).is_recorded(level)
        ]
        for level in get_args(Level)
    }
    assert told == {
        "changes": ["change", "export"],
        "content": ["change", "export", "content"],
        "all": ["change", "export", "content", "list"],
    }


def test_a_refused_path_is_told_by_its_template_and_an_invented_one_not_at_all() -> None:
    templates = Templates(templates_of(create_app(ApiConfig())))
    assert templates.of("/api/v1/executions/" + "a" * 32 + "/tree") == "/api/v1/executions/{trace_id}/tree"
    assert templates.of("/api/v1/runs/a/b/c") == "/api/v1/runs/{run_id:path}"
    assert templates.of("/api/v1/export/audit/own") == "/api/v1/export/audit/own"
    assert templates.of("/spt_a-secret") is None


def test_every_route_with_an_execution_or_a_run_in_it_is_told_as_content_or_more() -> None:
    names = ("trace_id", "run_id", "conversation_id", "a")
    for template in templates_of(create_app(ApiConfig())):
        given = {name: "x" for name in names if f"{{{name}}}" in template or f"{{{name}:path}}" in template}
        if given:
            wanted = asked("GET", template, given)
            assert wanted is not None, template
            assert wanted.is_recorded("content"), template
