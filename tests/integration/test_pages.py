"""The pages as the server sends them: what reads without a script, what hostile texts become, what may run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.api_rows import NOW_NS, T0_NS, S, Trace, insert, node, trace, trace_id
from tests.api_server import api_over
from tests.factories import span
from tests.factories import trace_id as sent_trace_id
from tests.page_rows import large, small
from tests.postgres import new_database
from tests.tables import project_all

from spantree_exporter.postgres.store import Store
from spantree_exporter.span import Attributes

RFC_NOW = "2026-11-20T11:00:00"
HOSTILE = "<script>alert(1)</script>\u202egnp.exe\x1b[31m\x07\u200b'\"javascript:alert(1)"


class _Page(HTMLParser):
    """What a page holds: its texts, its links, and everything that could run or fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.sources: list[str] = []
        self.inline: list[str] = []
        self.texts: list[str] = []
        self._in_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._in_script = tag == "script"
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")
        if tag in {"script", "img", "link", "iframe"}:
            self.sources.append(given.get("src") or given.get("href") or "")

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.inline.append(data)
        elif data.strip():
            self.texts.append(" ".join(data.split()))

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def page_of(answer: httpx.Response, status: int = 200) -> _Page:
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:2000]}"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy and "default-src 'none'" in policy
    page = _Page(answer.text)
    assert page.inline == []
    assert all(source.startswith("/static/") for source in page.sources), page.sources
    return page


def _failed_run() -> Trace:
    error: dict[str, Any] = {
        "error_type": "billing.CardDeclined",
        "error_message": f"no credit {HOSTILE}",
        "error_category": "user",
    }
    return trace(
        1,
        [
            node(1, "nightly report", status="failed", **error),
            node(
                2, f"charge {HOSTILE}", parent=1, status="failed", input='{"card": {"number": "<b>4000</b>"}}', **error
            ),
        ],
        name="nightly report", workflow_name="nightly report", status="failed", entry="POST /report", run_id="run 1/2",
        conversation_id="c#1", user_id="ada", first_failed_span_id=2, first_failed_ordinal=0,
        first_failed_name="charge",
        first_failed_error_type="billing.CardDeclined", first_failed_error_message=error["error_message"],
        error_summary="charge: no credit", error_category="user", error_fingerprint="f1", started_ns=T0_NS - 2 * S,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pages(postgres_url: str, _migrated_template: str) -> Iterator[httpx.Client]:
    with new_database(postgres_url, template=_migrated_template) as url:
        long = trace(3, status="running", name="long", workflow_name="long", ended_ns=None, last_seen_ns=NOW_NS)
        good = trace(
            2,
            name="good",
            workflow_name="good",
            started_ns=T0_NS - S,
            input_tokens=1200,
            output_tokens=34,
            cost_usd=0.5,
        )
        insert(url, _failed_run(), good, long)
        with api_over(url) as client:
            yield client


def test_the_list_reads_without_a_script_and_keeps_its_filters_in_the_address(pages: httpx.Client) -> None:
    everything = page_of(pages.get("/executions"))
    assert [link for link in everything.links if link.startswith("/executions/")] == [
        f"/executions/{trace_id(number)}" for number in (3, 2, 1)
    ]
    assert "failed" in everything.text and "CardDeclined" in everything.text and "✕" in everything.text
    assert "1 234 $0.5000" in everything.text

    narrowed = page_of(pages.get("/executions", params={"status": "failed", "workflow": "nightly report"}))
    assert [link for link in narrowed.links if link.startswith("/executions/")] == [f"/executions/{trace_id(1)}"]
    assert "/executions?status=failed" in narrowed.links, "a filter can be taken away"

    several = pages.get("/executions?status=failed&status=partial&status=timed_out").text
    assert re.findall(r'<option value="(\w+)" selected>', several) == ["failed"]
    assert re.findall(r'name="status" value="(\w+)"', several) == ["partial", "timed_out"]

    emptied = pages.get("/executions?status=&q=&workflow=good", follow_redirects=False)
    assert (emptied.status_code, emptied.headers["location"]) == (303, "/executions?workflow=good")
    assert "No execution is like that" in page_of(pages.get("/executions?workflow=none")).text
    refused = page_of(pages.get("/executions?since=yesterday"), 422)
    assert "since is" in refused.text


def test_hostile_texts_stay_texts_and_show_what_they_hide(pages: httpx.Client) -> None:
    for path in (
        "",
        "/failure",
        "/flame",
        "/statistics",
        "/table",
        "/raw",
        "/nodes/0000000000000002",
        "/nodes/0000000000000002?panel=1",
    ):
        answer = pages.get(f"/executions/{trace_id(1)}{path}")
        page = page_of(answer)
        assert not re.search("[\u202e\u200b\x1b\x07]", answer.text), path
        assert not [link for link in page.links if not link.startswith(("/", "#", "http://", "https://"))]
    table = page_of(pages.get(f"/executions/{trace_id(1)}/table"))
    assert "charge <script>alert(1)</script>⟨U+202E⟩gnp.exe␛[31m␇⟨U+200B⟩'\"javascript:alert(1)" in table.text


def test_an_execution_reads_without_a_script(pages: httpx.Client) -> None:
    page = page_of(pages.get(f"/executions/{trace_id(1)}"))
    told = (
        "nightly report", "failed first", "billing.CardDeclined", "POST /report",
        "2026-11-20 09:59:58.000 UTC", "run 1/2",
        "c#1", "ada", "charge",
    )  # fmt: skip
    assert [text for text in told if text not in page.text] == []
    assert {"/runs/run%201%2F2", "/conversations/c%231"} <= set(page.links)
    assert "last good" not in page.text, "there is none to compare with"
    flame = page_of(pages.get(f"/executions/{trace_id(1)}/flame"))
    charge = [link for link in flame.links if "/flame?at=" in link][-1]
    alone = page_of(pages.get(charge))
    assert "all steps › nightly report › charge" in alone.text and "1.00 s" in alone.text
    assert f"/executions/{trace_id(1)}/nodes/0000000000000002" in alone.links, "the longest of them"
    assert "no frame" in page_of(pages.get(f"/executions/{trace_id(1)}/flame?at=0"), 404).text
    report = page_of(pages.get(f"/executions/{trace_id(1)}/failure"))
    assert "How it went up" in report.text and "the cause" in report.text
    detail = page_of(pages.get(f"/executions/{trace_id(1)}/nodes/0000000000000002"))
    assert "<b>4000</b>" in detail.text, "JSON is folded, its texts as they are"


def test_what_failed_leads_to_the_last_good_run_where_there_is_one(migrated_url: str) -> None:
    insert(
        migrated_url,
        trace(1, started_ns=T0_NS, workflow_name="w"),
        trace(2, started_ns=T0_NS + S, workflow_name="w", status="failed"),
        trace(3, started_ns=T0_NS + 2 * S, workflow_name="other", status="failed"),
        trace(4, started_ns=T0_NS + 3 * S, workflow_name="other"),
        trace(5, started_ns=T0_NS + 4 * S, workflow_name="w"),
    )
    with api_over(migrated_url) as api:
        rows = {number: api.get(f"/api/v1/executions/{trace_id(number)}").json() for number in range(1, 6)}
        pages = {number: page_of(api.get(f"/executions/{trace_id(number)}")).links for number in range(1, 6)}
        assert api.get(f"/compare/{trace_id(2)}/last-good").status_code == 200
    assert {number: row["last_good"] for number, row in rows.items() if "last_good" in row} == {2: trace_id(1), 3: None}
    linked = {number: [link for link in links if link.startswith("/compare/")] for number, links in pages.items()}
    assert linked == {1: [], 2: [f"/compare/{trace_id(2)}/last-good"], 3: [], 4: [], 5: []}


def test_every_page_reads_without_a_script(pages: httpx.Client) -> None:
    told = {
        "/": ("1 cause of failure", "long", "nightly report", "charge: no credit"),
        "/failures": ("Failures by cause", "charge: no credit", "user"),
        "/failures/f1": ("charge: no credit", "How it went up", "Resolved"),
        "/stuck": ("Nothing is stuck",),
        "/workflows": ("nightly report", "good", "long"),
        "/usage": ("Users", "ada", "Runs"),
        "/usage?days=30": ("Users", "30 days"),
        "/alerts": ("There is no rule", "No message"),
        "/alerts?state=failed": ("Nothing was told that is failed.",),
        "/workflows/nightly%20report": ("nightly report", "Map", "user"),
        "/runs/run%201%2F2": ("run 1/2", "nightly report", "charge"),
        "/conversations/c%231": ("c#1", "1 turn", "nightly report"),
        f"/executions/{trace_id(1)}/graph": ("nightly report", "2 steps"),
        f"/executions/{trace_id(1)}/flame": ("all steps: 2.00 s", "charge", "50 %", "once, 1 failed"),
        f"/executions/{trace_id(1)}/statistics": ("Steps by name", "nightly report", "Self ↓"),
        f"/executions/{trace_id(1)}/statistics?sort=cost": ("Cost ↓",),
        "/system": ("System", "database", "projection"),
    }
    for path, texts in told.items():
        answer = pages.get(path)
        page = page_of(answer)
        assert [text for text in texts if text not in page.text and text not in answer.text] == [], path
        assert not re.search("[\u202e\u200b\x1b\x07]", answer.text), path
    assert (
        "no execution of nightly report completed" in page_of(pages.get(f"/compare/{trace_id(1)}/last-good"), 404).text
    )
    assert "What went differently" in page_of(pages.get(f"/compare/{trace_id(1)}/{trace_id(2)}")).text


def test_a_comparison_shows_the_first_steps_of_it_and_says_how_many_there_are(migrated_url: str) -> None:
    insert(
        migrated_url,
        trace(1, [node(1, "order"), *(node(at, f"step {at}", parent=1) for at in range(2, 603))]),
        trace(2, [node(1, "order")]),
    )
    with api_over(migrated_url) as client:
        answer = client.get(f"/compare/{trace_id(1)}/{trace_id(2)}")
    page = page_of(answer)
    assert answer.text.count('<tr class="removed"') == 500
    assert "101 more steps" in page.text
    assert f"/api/v1/executions/{trace_id(1)}/diff/{trace_id(2)}" in page.links
    assert f"/executions/{trace_id(1)}?node={2:016x}" in page.links, "the first difference"


def test_a_comparison_tells_a_step_by_its_own_name_and_depth(migrated_url: str) -> None:
    insert(
        migrated_url,
        trace(1, [node(1, "order"), node(2, "a > b", parent=1)]),
        trace(2, [node(1, "order")]),
    )
    with api_over(migrated_url) as client:
        answer = client.get(f"/compare/{trace_id(1)}/{trace_id(2)}").text
    assert ('<bdi>a &gt; b</bdi></a> <span class="tag">first' in answer, '<svg width="12"' in answer) == (True, True)


def test_what_is_folded_into_steps_is_told_by_step(migrated_url: str) -> None:
    store = Store(migrated_url)
    connect: Attributes = {"db.system": "postgresql"}
    store.write(
        [
            span(1, name="order", start_ns=T0_NS, duration_ns=S, attributes={"item": "a cup"}),
            span(2, parent=1, name="load", start_ns=T0_NS + 1_000, duration_ns=S // 2),
            span(3, parent=2, name="connect", start_ns=T0_NS + 3_000, duration_ns=2_000, attributes=connect, kind=3),
            span(4, parent=2, name="connect", start_ns=T0_NS + 2_000, duration_ns=5_000, attributes=connect, kind=3),
        ]
    )
    project_all(migrated_url, store)
    store.close()
    with api_over(migrated_url) as api:
        path = f"/api/v1/executions/{sent_trace_id(1).hex()}/timeline"
        folded = api.get(f"{path}/folded").json()
        assert api.get(path).json()["nodes"]["folded"] == [0, 2]
        assert api.get(f"{path}/folded?first=3").json()["spans"]["span_id"] == []
        found = {
            q: api.get(f"{path}/matches", params={"q": q}).json()["sequences"]
            for q in (
                "db.system:postgresql", "-db.system:postgresql", "text:greSQL", "text:nothing", "why:none",
                "status:completed load", "-status:completed", "kind:function", "service:shop", 'item:"a cup"',
            )
        }  # fmt: skip
    assert found == {
        "db.system:postgresql": [2], "-db.system:postgresql": [1], "text:greSQL": [2], "text:nothing": [],
        "why:none": [], "status:completed load": [2], "-status:completed": [], "kind:function": [1, 2],
        "service:shop": [1, 2], 'item:"a cup"': [1],
    }  # fmt: skip
    assert folded == {
        "execution_id": sent_trace_id(1).hex(),
        "names": ["connect"],
        "scopes": ["tests"],
        "spans": {
            "sequence": [2, 2],
            "span_id": [f"{4:016x}", f"{3:016x}"],
            "name": [0, 0],
            "scope": [0, 0],
            "start_us": [2, 3],
            "duration_us": [5, 2],
            "failed": [0, 0],
        },
        "truncated": False,
    }


def test_what_is_not_there_is_said_on_a_page(pages: httpx.Client) -> None:
    missing = page_of(pages.get(f"/executions/{trace_id(77)}"), 404)
    assert "no execution" in missing.text
    assert (
        page_of(pages.get("/nowhere", headers={"accept": "text/html"}), 404).text.count("There is no such page.") == 1
    )
    assert pages.get("/nowhere").json()["error"]["code"] == "not_found", "programs get JSON"


def test_files_are_kept_for_ever_under_the_name_of_their_content(pages: httpx.Client) -> None:
    for path in page_of(pages.get("/executions")).sources:
        answer = pages.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["x-content-type-options"] == "nosniff"
        plain = pages.get(path, headers={"accept-encoding": "gzip;q=0"})
        assert (plain.headers.get("content-encoding"), plain.text) == (None, answer.text)
    assert pages.get("/static/000000000000/frame.js").headers["cache-control"] == "no-store"
    assert pages.get("/static/000000000000/..%2Fframe.py").status_code == 404


def test_a_timeline_is_columns_with_the_end_of_each_subtree(pages: httpx.Client) -> None:
    whole = pages.get(f"/api/v1/executions/{trace_id(1)}/timeline").json()
    assert (whole["total"], whole["first"], whole["status"]) == (2, 1, "failed")
    columns = whole["nodes"]
    assert columns["id"] == ["0000000000000001", "0000000000000002"]
    assert (columns["depth"], columns["end"]) == ([0, 1], [None, None])
    assert whole["groups"]["first"] == []
    assert whole["names"][columns["name"][0]] == "nightly report"
    first = pages.get(f"/api/v1/executions/{trace_id(1)}/timeline?limit=1").json()
    second = pages.get(f"/api/v1/executions/{trace_id(1)}/timeline?first=2&limit=1").json()
    assert first["nodes"]["id"] + second["nodes"]["id"] == columns["id"]
    matches = f"/api/v1/executions/{trace_id(1)}/timeline/matches"
    assert pages.get(matches, params={"q": "CHARGE"}).json()["sequences"] == [2]
    assert pages.get(matches, params={"failed": "true"}).json()["sequences"] == [1, 2]
    assert pages.get(matches, params={"q": "nothing like it"}).json() == {
        "sequences": [],
        "ids": [],
        "truncated": False,
    }


def test_a_timeline_of_any_size_has_an_overview(migrated_url: str) -> None:
    insert(migrated_url, large(1, 2_000, T0_NS))
    with api_over(migrated_url) as client:
        overview = client.get(f"/api/v1/executions/{trace_id(1)}/timeline/overview").json()
    bands = overview.pop("bands")
    assert overview == {"execution_id": trace_id(1), "total": 2_000, "size": 13}
    assert bands["first"] == list(range(1, 2_001, 13))
    assert (bands["start_us"][:2], bands["end_us"][0]) == ([0, 14_000], 2_000_000)
    failed = [at for at, start in enumerate(bands["failed_start_us"]) if start is not None]
    assert failed == [999 // 13, 1_999 // 13]
    assert bands["failed_end_us"][failed[0]] - bands["failed_start_us"][failed[0]] == 900


def test_the_start_page_says_how_long_something_waits_and_what_got_worse(migrated_url: str) -> None:
    day_ns = 86_400 * S
    waits = small(1, "approval", NOW_NS - day_ns, "waiting", ended_ns=NOW_NS - 3 * 3_600 * S)
    insert(
        migrated_url,
        waits,
        *(
            small(
                10 + day,
                "slow report",
                NOW_NS - day * day_ns,
                ended_ns=NOW_NS - day * day_ns + (9 if day < 7 else 3) * S,
            )
            for day in range(1, 14)
        ),
        *(small(30 + one, "busy report", NOW_NS - one % 13 * day_ns - S) for one in range(26)),
    )
    with api_over(migrated_url) as client:
        now = page_of(client.get("/")).text
        assert "waiting approval 2 steps for 3 h" in now
        assert now.index("slow report") < now.index("busy report"), "what got worse comes first"
        assert "▲ slower: 9.00 s, was 3.00 s" in now
        by_runs, by_p95 = (page_of(client.get(f"/workflows{query}")).text for query in ("", "?sort=p95"))
    assert by_runs.index("busy report") < by_runs.index("slow report")
    assert by_p95.index("slow report") < by_p95.index("busy report")


def test_a_mistyped_filter_stays_in_the_form(pages: httpx.Client) -> None:
    answer = pages.get("/executions", params={"since": "yesterdayy", "status": "failed"})
    assert "since is 'yesterdayy'" in page_of(answer, 422).text
    assert 'name="since" value="yesterdayy"' in answer.text
    assert "/executions?status=failed" in page_of(answer, 422).links, "it can be taken away"


def test_what_is_not_there_to_compare_with_leads_back(pages: httpx.Client) -> None:
    page = page_of(pages.get(f"/compare/{trace_id(1)}/last-good"), 404)
    assert "No good run to compare with" in page.text
    assert f"/executions/{trace_id(1)}" in page.links
    assert "Not here" in page_of(pages.get(f"/compare/{trace_id(77)}/last-good"), 404).text


def test_many_services_leave_room_for_what_ran(migrated_url: str) -> None:
    names = [f"service-{number:03d}" for number in range(100)]
    insert(migrated_url, trace(1, [node(1, "report")], services=names))
    with api_over(migrated_url) as client:
        page = page_of(client.get(f"/executions/{trace_id(1)}"))
    assert "service-005 and 94 more service-006" in page.text


@pytest.mark.parametrize(
    "name",
    [
        ".",
        "..",
        "...",
        " ",
        "a/b",
        "/",
        "//",
        "a//b",
        "/a/",
        "%2F",
        "?",
        "#",
        "a&b=c;d",
        "\\",
        "../x",
        "map",
        "é*" * 40,
    ],
)
def test_pages_lead_to_what_is_named_oddly(name: str, migrated_url: str) -> None:
    names: dict[str, Any] = {"workflow_name": name, "run_id": name, "conversation_id": name}
    insert(migrated_url, trace(1, [node(1, "main", workflow_name=name)], **names))
    with api_over(migrated_url) as client:
        links = [*page_of(client.get("/workflows")).links, *page_of(client.get(f"/executions/{trace_id(1)}")).links]
        for begin in ("/workflows/", "/runs/", "/conversations/"):
            [link] = {one for one in links if one.startswith(begin)}
            # As a browser reads it: https://url.spec.whatwg.org/#path-state
            assert not re.search(r"/(\.|%2e){1,2}(/|\?|$)", link, re.IGNORECASE), link
            page = page_of(client.get(link))
            assert name in page.text or not name.strip(), link
        days = [
            one
            for one in page_of(client.get(next(one for one in links if one.startswith("/workflows/")))).links
            if "days=" in one
        ]
        assert days and all(client.get(one).status_code == 200 for one in days)
        listed = client.get("/executions", params={"workflow": name})
        assert f"/executions/{trace_id(1)}" in page_of(listed).links


def test_a_name_of_several_lines_has_its_pages_and_answers(migrated_url: str) -> None:
    name = "first\nsecond/third\n"
    names: dict[str, Any] = {
        "workflow_name": name,
        "run_id": name,
        "conversation_id": name,
        "user_id": name,
        "project": name,
    }
    insert(migrated_url, trace(1, [node(1, "main", workflow_name=name)], **names, service=name))
    part = quote(name, safe="")
    with api_over(migrated_url) as client:
        for path in (
            f"/workflows/{part}",
            f"/runs/{part}",
            f"/conversations/{part}",
            f"/api/v1/stats/workflows/{part}",
            f"/api/v1/stats/projects/{part}",
            f"/api/v1/stats/users/{part}",
            f"/api/v1/workflows/{part}/map",
            f"/api/v1/runs/{part}",
        ):
            assert client.get(path).status_code == 200, path
        turns = client.get(f"/api/v1/conversations/{part}/executions").json()
        assert [one["conversation_id"] for one in turns["executions"]] == [name]
        assert client.get(f"/jaeger/api/services/{part}/operations").status_code == 200
        assert client.get(f"/tempo/api/v2/search/tag/{part}/values").status_code == 200


def test_a_run_that_was_taken_up_says_by_which(migrated_url: str) -> None:
    def waits(number: int, **changes: Any) -> Trace:
        return trace(number, started_ns=T0_NS + number * S, status="waiting", **changes)

    insert(
        migrated_url,
        waits(1, run_id="order-1"),
        trace(2, started_ns=T0_NS + 2 * S, run_id="order-1", resumes="order-1"),
        waits(3, run_id="order-3"),
        waits(4, conversation_id="thread-4"),
        trace(5, started_ns=T0_NS + 5 * S, conversation_id="thread-4", resumes="thread-4"),
        trace(6, started_ns=T0_NS + 6 * S, conversation_id="thread-4"),
        waits(7, conversation_id="thread-7"),
        trace(8, started_ns=T0_NS + 8 * S, conversation_id="thread-7"),
    )
    with api_over(migrated_url) as api:
        pages = {number: page_of(api.get(f"/executions/{trace_id(number)}")) for number in range(1, 9)}
    told = {
        number: [link for link in page.links if link.startswith("/executions/0") and trace_id(number) not in link]
        for number, page in pages.items()
    }
    taken_up = {1: [f"/executions/{trace_id(2)}"], 4: [f"/executions/{trace_id(5)}"]}
    assert told == {number: taken_up.get(number, []) for number in pages}
    assert "Taken up by" in pages[1].text and "Waited since" in pages[1].text
    assert "so far" not in pages[1].text


def test_a_call_of_a_model_reads_as_a_conversation(migrated_url: str) -> None:
    turns = [{"role": "user", "parts": [{"type": "text", "content": f"question {number}"}]} for number in range(9)]
    calls = {"type": "tool_call", "id": "1", "name": "find", "arguments": {"q": "<b>"}}
    asked = node(
        1, "chat", kind="llm", model="small-1", input_tokens=812, output_tokens=64, cost_usd=0.0123,
        input=json.dumps(turns), output=json.dumps([{"role": "assistant", "parts": [calls]}]),
    )  # fmt: skip
    insert(migrated_url, trace(1, [asked]))
    with api_over(migrated_url) as client:
        page = page_of(client.get(f"/executions/{trace_id(1)}/nodes/{1:016x}"))
    assert "small-1 812 tokens in, 64 out, $0.0123 Input" in page.text, "what it took comes before what was said"
    assert "5 earlier messages user question 0" in page.text
    assert 'assistant calls find({"q":"<b>"}) as JSON' in page.text


def test_moments_that_are_told_as_how_long_ago_have_the_moment_itself(pages: httpx.Client) -> None:
    ago = re.compile(r'<time datetime="([^"]+)" title="([^"]+)" data-fixed="ago">([^<]+)</time>')
    group = pages.get("/failures/f1?within=30d").text
    assert ago.findall(group)[0] == ("2026-11-20T09:59:58.000Z", "2026-11-20 09:59:58.000 UTC", "1 h ago")
    assert "Runs, last 30 days" in group and "Keep the note" in group
    assert "/failures/f1?within=7d" in page_of(pages.get("/failures")).links
    running = pages.get(f"/executions/{trace_id(3)}").text
    seen = f'<dt>Last sign of life</dt><dd><time datetime="{RFC_NOW}.000Z"'
    assert seen in running, "which is told in the zone that is chosen"


def test_links_from_figures_lead_to_the_runs_that_they_are_of(pages: httpx.Client) -> None:
    assert "/executions?user_id=ada&within=24h" in page_of(pages.get("/usage?days=1")).links
    links = page_of(pages.get("/workflows/nightly%20report?days=30")).links
    assert "/executions?workflow=nightly+report&error_category=user&within=30d" in links


def test_a_run_is_followed(pages: httpx.Client) -> None:
    answer = pages.get("/runs/run%201%2F2").text
    assert re.search(
        r'data-follow="/api/v1/stream\?events=execution&amp;run_id=run\+1%2F2&amp;hidden=true&amp;after=\d+"', answer
    )
    assert set(re.findall(r'data-region="(\w+)"', answer)) == {"status", "facts", "executions", "steps"}


def test_any_run_of_the_list_can_be_compared_with_one(pages: httpx.Client) -> None:
    chosen = trace_id(2)
    assert f"/executions?workflow=good&compare={chosen}" in page_of(pages.get(f"/executions/{chosen}")).links
    page = page_of(pages.get(f"/executions?compare={chosen}&q=report"))
    assert "Which run is to be compared with good" in page.text
    assert [link for link in page.links if link.startswith("/compare/")] == [f"/compare/{chosen}/{trace_id(1)}"]
    assert f"/executions?compare={chosen}" in page.links, "what narrows the list can be taken away"
    assert f'name="compare" value="{chosen}"' in pages.get(f"/executions?compare={chosen}").text
    unknown = page_of(pages.get(f"/executions?compare={trace_id(77)}"))
    assert [link for link in unknown.links if link.startswith("/compare/")] == []


def test_causes_are_sorted_by_what_is_chosen(migrated_url: str) -> None:
    def fails(number: int, cause: str, minutes_ago: int) -> Trace:
        return small(
            number, cause, NOW_NS - minutes_ago * 60 * S, "failed", error_fingerprint=cause, error_summary=cause
        )

    insert(migrated_url, *(fails(at, "often", 50 + at) for at in range(3)), fails(10, "new", 40), fails(11, "old", 90),
           fails(12, "old", 30))  # fmt: skip
    with api_over(migrated_url) as client:

        def told(query: str) -> list[str]:
            return re.findall(r"/failures/(\w+)\?within", client.get(f"/failures{query}").text)

        assert told("") == told("?sort=seen") == told("?sort=other") == ["old", "new", "often"]
        assert told("?sort=count") == ["often", "old", "new"]
        assert told("?sort=new&within=24h&state=open") == ["new", "often", "old"]
        page = page_of(client.get("/failures?sort=count&within=24h"))
    assert "/failures?sort=new&within=24h" in page.links


def test_days_are_those_of_the_zone_that_times_are_shown_in(migrated_url: str) -> None:
    # NOW is 11:00 UTC of the 20th; the run began at 22:00 UTC of the 18th, the 19th in Tokyo.
    insert(migrated_url, small(1, "report", NOW_NS - 37 * 3_600 * S))
    with api_over(migrated_url) as client:
        told = {
            zone: [
                re.findall(r"<title>([^<]*: 1)</title>", client.get(path, headers={"cookie": zone}).text)
                for path in ("/workflows", "/workflows/report?days=30")
            ]
            for zone in ("", "spantree_zone=Asia/Tokyo", "spantree_zone=Nowhere")
        }
    utc = [["18 Nov UTC: 1"], ["18 Nov UTC: 1"] * 3]
    tokyo = [["19 Nov JST: 1"], ["19 Nov JST: 1"] * 3]
    assert told == {"": utc, "spantree_zone=Asia/Tokyo": tokyo, "spantree_zone=Nowhere": utc}
