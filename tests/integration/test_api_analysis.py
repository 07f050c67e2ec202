"""POST /executions/{id}/analyze: rules, what differs from the last good run, the same cause elsewhere; kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.api_rows import NOW_NS, T0_NS, S, Trace, fold_all, insert, node, trace, trace_id
from tests.api_server import api_over, ok, refused
from tests.factories import span
from tests.postgres import new_database
from tests.tables import project_all, query

from spantree_api.analysis.model_answer import ModelAnalysis, NoAnswer, Told
from spantree_api.analysis.prompt import Prompt
from spantree_api.failures.known_errors_file import our_known_errors
from spantree_exporter.postgres.store import Store
from spantree_exporter.span import Attributes

DAY = 86_400 * S
MESSAGE = "charge() takes 1 positional argument but 2 were given"


def run(number: int, *, fails: bool, start_ns: int, **changes: Any) -> Trace:
    """order -> task (attempts 1, 2) -> charge, which fails; ship is left out then."""
    error: dict[str, Any] = {"status": "failed", "error_type": "TypeError", "error_message": MESSAGE}
    attempt: dict[str, Any] = {"task_key": "t", "max_attempts": 2, "retry_expected": True}
    if fails:
        nodes = [
            node(1, "order", status="failed", error_type="TypeError"),
            node(2, "task", 1, **attempt, status="retried"),
            node(3, "task", 1, **attempt, status="failed", attempt=2),
            node(4, "charge", 3, **error, kind="tool", input="b", ended_ns=T0_NS + 9 * S),
        ]
        changes = {
            "status": "failed",
            "error_category": "code",
            "error_fingerprint": "feed",
            "error_summary": f"charge: {MESSAGE}",
            "first_failed_span_id": 4,
            "first_failed_ordinal": 0,
            "first_failed_name": "charge",
            "first_failed_error_type": "TypeError",
            "first_failed_error_message": MESSAGE,
        } | changes
    else:
        nodes = [
            node(1, "order"),
            node(2, "task", 1, **attempt),
            node(4, "charge", 2, kind="tool", input="a"),
            node(5, "ship", 1),
        ]
    return trace(number, nodes, **({"started_ns": start_ns, "ended_ns": start_ns + 2 * S} | changes))


@pytest.fixture(scope="module")
def api(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    with new_database(postgres_url, template=_migrated_template) as url:
        insert(
            url,
            run(1, fails=False, start_ns=T0_NS - DAY),
            run(2, fails=True, start_ns=T0_NS),
            run(3, fails=True, start_ns=T0_NS - 3 * DAY, workflow_name="refund"),
            run(4, fails=True, start_ns=T0_NS - 40 * DAY),
            trace(5, [node(1, "report")]),
            trace(6, [node(1, "report")], status="failed", error_summary="killed"),
        )
        with api_over(url) as client:
            yield client


def test_the_rules_tell_cause_and_cascade_retries_differences_and_what_to_do(api: httpx.Client) -> None:
    path = f"/api/v1/executions/{trace_id(2)}"
    assert ok(api.get(path))["analysis"] is None
    assert refused(api.get(f"{path}/analysis"))[:2] == (404, "not_found")
    answer = ok(api.post(f"{path}/analyze"))
    advice = our_known_errors().advice_for("TypeError", MESSAGE, "code")
    assert answer == {
        "execution_id": trace_id(2),
        "by": "rules",
        "model": None,
        "fallback": None,
        "message": None,
        "root_cause": f"charge (tool) failed with TypeError: {MESSAGE}; with it failed task, order",
        "first_failed_node": {
            "id": f"{4:016x}",
            "name": "charge",
            "why": "nothing failed before it; the steps above it failed of it; task was attempted 2 times, as its "
            "policy foresaw; in the last good run it completed in 1000 ms, here it took 8996 ms of another input",
        },
        "category": "code",
        "known_error": "signature_mismatch",
        "suggestion": advice.suggestion,
        "cascade": [f"{number:016x}" for number in (4, 3, 1)],
        "failed_by": "a step below",
        "retries": {"expected": 1, "unexpected": 0, "gave_up": 1},
        "differs_from_last_good": {
            "execution_id": trace_id(1),
            "started_at": "2026-11-19T10:00:00.000000000Z",
            "first_difference": {"path": "order > task > charge", "a_id": f"{4:016x}", "b_id": f"{4:016x}"},
            "changes": [
                {
                    "path": "order",
                    "change": "changed",
                    "differs": ["status", "error"],
                    "status": ["failed", "completed"],
                    "duration_ms": [1000.0, 1000.0],
                    "attempts": [1, 1],
                },
                {
                    "path": "order > task",
                    "change": "changed",
                    "differs": ["status", "attempts"],
                    "status": ["failed", "completed"],
                    "duration_ms": [1000.0, 1000.0],
                    "attempts": [2, 1],
                },
                {
                    "path": "order > task > charge",
                    "change": "changed",
                    "differs": ["status", "error", "duration", "input"],
                    "status": ["failed", "completed"],
                    "duration_ms": [8996.0, 1000.0],
                    "attempts": [1, 1],
                },
                {
                    "path": "order > ship",
                    "change": "added",
                    "differs": [],
                    "status": [None, "completed"],
                    "duration_ms": [None, 1000.0],
                    "attempts": [None, 1],
                },
            ],
            "changed_count": 4,
            "inputs_differ_count": 1,
            "versions": [],
        },
        "fixes": list(advice.fixes),
        "prevention": list(advice.prevention),
        "same_cause": {
            "count": 1,
            "first_seen_at": "2026-10-11T10:00:00.000000000Z",
            "last_seen_at": "2026-11-20T10:00:00.000000000Z",
            "workflows": ["refund", "report"],
        },
        "created_at": "2026-11-20T11:00:00.000000000Z",
        "tokens": None,
        "last_seen_at": "2026-11-20T10:00:03.000000000Z",
        "stale": False,
    }
    assert ok(api.get(f"{path}/analysis")) == answer
    assert ok(api.get(path))["analysis"] == answer
    assert ok(api.get(f"{path}/tree"))["analysis"] == answer
    assert ok(api.get(f"{path}/tree?depth=1"))["analysis"] == answer
    assert ok(api.post(f"{path}/analyze")) == answer


def test_an_analysis_is_stale_once_spans_of_the_execution_came_after_it(migrated_url: str) -> None:
    insert(migrated_url, run(2, fails=True, start_ns=T0_NS))
    path = f"/api/v1/executions/{trace_id(2)}"
    with api_over(migrated_url) as api:
        answer = ok(api.post(f"{path}/analyze"))
        query(migrated_url, f"UPDATE spantree.execution SET last_seen_ns = {T0_NS + 4 * S}")
        assert ok(api.get(f"{path}/analysis")) == {**answer, "stale": True}
        assert ok(api.get(path))["analysis"]["stale"] is True
        again = ok(api.post(f"{path}/analyze"))
        assert (again["stale"], again["last_seen_at"]) == (False, "2026-11-20T10:00:04.000000000Z")
        assert ok(api.get(f"{path}/analysis")) == again


@pytest.mark.parametrize(("seen_ns", "stale"), [(NOW_NS - S, False), (NOW_NS + S, True)])
def test_an_analysis_that_does_not_say_what_it_saw_is_stale_by_when_it_was_made(
    migrated_url: str, seen_ns: int, stale: bool
) -> None:
    insert(migrated_url, run(2, fails=True, start_ns=T0_NS, last_seen_ns=seen_ns))
    path = f"/api/v1/executions/{trace_id(2)}"
    with api_over(migrated_url) as api:
        ok(api.post(f"{path}/analyze"))
        query(migrated_url, "UPDATE spantree.analysis SET answer = answer - 'stale' - 'last_seen_at'")
        assert ok(api.get(f"{path}/analysis"))["stale"] is stale


def test_the_failure_report_has_the_suggestion_of_the_same_table(api: httpx.Client) -> None:
    report = ok(api.get(f"/api/v1/executions/{trace_id(2)}/failure"))
    assert report["suggestion"] == our_known_errors().advice_for("TypeError", MESSAGE, None).suggestion


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (5, "no failed nodes: the execution is completed"),
        (6, "no failed nodes: the execution is failed; it says: killed"),
    ],
)
def test_an_execution_without_failed_nodes_says_so_and_keeps_nothing(
    api: httpx.Client, number: int, message: str
) -> None:
    path = f"/api/v1/executions/{trace_id(number)}"
    answer = ok(api.post(f"{path}/analyze"))
    assert (answer["root_cause"], answer["first_failed_node"], answer["message"]) == (None, None, message)
    assert refused(api.get(f"{path}/analysis"))[0] == 404


def test_what_is_not_there_or_no_id_is_refused(api: httpx.Client) -> None:
    for method, path in (("POST", "analyze"), ("GET", "analysis")):
        assert refused(api.request(method, f"/api/v1/executions/{trace_id(99)}/{path}"))[:2] == (404, "not_found")
        assert refused(api.request(method, f"/api/v1/executions/x/{path}"))[:2] == (422, "invalid_parameter")


def test_a_persons_known_errors_are_asked_first(migrated_url: str, tmp_path: Path) -> None:
    file = tmp_path / "known.toml"
    file.write_text(
        '[[error]]\nname = "ours"\nmatch = [{ message = "positional argument" }]\nsuggestion = "Ask Ada."\n'
    )
    insert(migrated_url, run(2, fails=True, start_ns=T0_NS))
    with api_over(migrated_url, known_errors=file) as api:
        assert ok(api.get(f"/api/v1/executions/{trace_id(2)}/failure"))["suggestion"] == "Ask Ada."
        answer = ok(api.post(f"/api/v1/executions/{trace_id(2)}/analyze"))
    assert (answer["known_error"], answer["fixes"], answer["prevention"]) == ("ours", ["Ask Ada."], [])
    assert answer["differs_from_last_good"] is None


def test_the_version_that_changed_since_the_last_good_run_is_named(migrated_url: str) -> None:
    store = Store(migrated_url)

    def write(number: int, version: str, at_ns: int, error: str | None) -> None:
        resource: Attributes = {"service.version": version}
        named: Attributes = {"spantree.execution.name": "order-flow"}
        store.write(
            [
                span(2, trace=number, parent=1, name="charge", start_ns=at_ns, error=error, resource=resource),
                span(1, trace=number, name="order", start_ns=at_ns, error=error, resource=resource, attributes=named),
            ]
        )

    write(1, "1.4", T0_NS, None)
    write(2, "1.5", T0_NS + 60 * S, "no such table")
    project_all(migrated_url, store)
    store.close()
    fold_all(migrated_url)
    with api_over(migrated_url, now_ns=NOW_NS) as api:
        [failed] = ok(api.get("/api/v1/failures?hidden=true"))["failures"]
        answer = ok(api.post(f"/api/v1/executions/{failed['execution_id']}/analyze"))
    assert answer["known_error"] == "schema_behind"
    assert answer["differs_from_last_good"]["versions"] == [{"service": "shop", "version": ["1.5", "1.4"]}]


class FakeAnalyst:
    """Answers with the first failed node that it is asked about, or with nothing."""

    name = "fake:model"
    most_chars = 20_000

    def __init__(self, fails: str | None = None, node_id: str | None = None) -> None:
        self._fails = fails
        self._node_id = node_id
        self.prompts: list[Prompt] = []

    async def ask(self, prompt: Prompt) -> Told:
        self.prompts.append(prompt)
        if self._fails is not None:
            raise NoAnswer(self._fails)
        answer = ModelAnalysis(
            root_cause="The call gives two arguments.",
            first_failed_node_id=self._node_id or next(iter(prompt.names)),
            why="charge takes one.",
            fixes=["Give one, see http://x.example"],
            prevention=[],
        )
        return Told(answer, 700, 70)


def test_a_model_gives_the_words_and_the_rules_what_is_measured(migrated_url: str) -> None:
    insert(migrated_url, run(1, fails=False, start_ns=T0_NS - DAY), run(2, fails=True, start_ns=T0_NS))
    analyst = FakeAnalyst()
    path = f"/api/v1/executions/{trace_id(2)}"
    with api_over(migrated_url, analyst=analyst) as api:
        assert ok(api.get(f"{path}/failure"))["analysis_model"] == "fake:model"
        rules = ok(api.post(f"{path}/analyze?by=rules"))
        assert (rules["by"], rules["fallback"], analyst.prompts) == ("rules", None, [])
        answer = ok(api.post(f"{path}/analyze"))
        assert ok(api.get(f"{path}/analysis")) == answer
    assert answer == {
        **rules,
        "by": "model",
        "model": "fake:model",
        "root_cause": "The call gives two arguments.",
        "first_failed_node": {"id": f"{4:016x}", "name": "charge", "why": "charge takes one."},
        "fixes": ["Give one, see (link left out)"],
        "prevention": [],
        "tokens": {"input": 700, "output": 70},
    }
    [prompt] = analyst.prompts
    assert prompt.names == {f"{4:016x}": "charge", f"{3:016x}": "task", f"{1:016x}": "order"}
    stored = query(migrated_url, "SELECT model, input_tokens, output_tokens, answer ->> 'by' FROM spantree.analysis")
    assert stored == [("fake:model", 700, 70, "model")]


@pytest.mark.parametrize(
    ("analyst", "fallback"),
    [
        (FakeAnalyst(fails="fake:model did not answer within 60 s"), "fake:model did not answer within 60 s"),
        (
            FakeAnalyst(node_id="f" * 16),
            "fake:model gave no answer that could be taken: it names a node that is none of the failed ones",
        ),
    ],
    ids=["silent", "wrong"],
)
def test_the_rules_answer_where_the_model_does_not_and_say_so(
    migrated_url: str, analyst: FakeAnalyst, fallback: str
) -> None:
    insert(migrated_url, run(2, fails=True, start_ns=T0_NS))
    path = f"/api/v1/executions/{trace_id(2)}/analyze"
    with api_over(migrated_url, analyst=analyst) as api:
        rules = ok(api.post(f"{path}?by=rules"))
        assert ok(api.post(path)) == {**rules, "fallback": fallback}


def test_a_model_that_is_not_set_is_said_to_whoever_asks_for_it(api: httpx.Client) -> None:
    answer = ok(api.post(f"/api/v1/executions/{trace_id(3)}/analyze?by=model"))
    assert (answer["by"], answer["fallback"]) == (
        "rules",
        "no model is set: SPANTREE_API_ANALYSIS_MODEL names one",
    )
