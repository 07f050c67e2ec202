"""The pages in a browser: safe, light, usable by keyboard and on a narrow screen, found faultless by axe."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, Route, expect
from tests.api_rows import NOW_NS, S, insert, node, trace, trace_id
from tests.api_server import api_over, ok
from tests.browser import axe_findings, chromium, opened
from tests.factories import NOON_NS, live_mark, span
from tests.factories import trace_id as sent_trace_id
from tests.page_rows import large, loop, order, small, two_weeks
from tests.postgres import new_database
from tests.tables import project_all
from tests.waiting import wait_until
from tests.webhook_receiver import receiver

from spantree_exporter.postgres.store import Store
from spantree_exporter.span import Attributes

HOSTILE = "<img src=x onerror=alert(1)>\u202egnp\x1b[31m"
LONG = "W" * 512
FAILED, GOOD, LARGE, HUGE, HOSTILE_RUN, LOOP, LONG_RUN = 1, 2, 3, 4, 5, 6, 7
NOW_MS = NOW_NS // 1_000_000
HOUR_NS = 3_600 * S


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def site(browser: Browser, postgres_url: str, _migrated_template: str) -> Iterator[str]:
    """The pages over two weeks of a shop; the browser comes first, so that none of it is made where there is none."""
    hostile: dict[str, Any] = {"error_type": HOSTILE, "error_message": HOSTILE}
    long: dict[str, Any] = {"error_type": LONG, "error_message": LONG}
    named: dict[str, Any] = {"workflow_name": LONG, "run_id": LONG, "conversation_id": LONG, "user_id": LONG}
    with new_database(postgres_url, template=_migrated_template) as url:
        insert(
            url,
            *two_weeks(NOW_NS),
            order(FAILED, NOW_NS - HOUR_NS, fails=True),
            order(GOOD, NOW_NS - 2 * HOUR_NS, conversation_id="chat 7", input="where is it?", output="on its way"),
            small(10, "triage agent", NOW_NS - 60 * S, "running"),
            small(11, "nightly report", NOW_NS - 30 * HOUR_NS, "running", last_seen_ns=NOW_NS - 60 * S),
            large(LARGE, 5_000, NOW_NS - 3 * HOUR_NS),
            loop(LOOP, NOW_NS - 5 * HOUR_NS),
            trace(
                HOSTILE_RUN,
                [node(1, HOSTILE, status="failed", input=HOSTILE, output='{"a": "<b>"}', service=HOSTILE, **hostile)],
                name=HOSTILE, workflow_name=HOSTILE, status="failed", error_summary=HOSTILE, run_id=HOSTILE,
                error_fingerprint="hostile", started_ns=NOW_NS - 4 * HOUR_NS,
            ),
            trace(
                LONG_RUN,
                [node(1, LONG, status="failed", service=LONG, workflow_name=LONG, **long)],
                name=LONG, service=LONG, services=[LONG], status="failed", error_summary=LONG, error_fingerprint="long",
                started_ns=NOW_NS - 6 * HOUR_NS, **named,
            ),
        )  # fmt: skip
        with api_over(url) as client:
            rule = {"name": HOSTILE, "kind": "cost", "limit": 2, "webhook_url": "https://hooks.example.com/secret"}
            ok(client.post("/api/v1/alerts/rules", json=rule))
            yield str(client.base_url).rstrip("/")


# Rows of a list are alike: axe looks at some of them, and takes a third of the time.
FEW_ROWS = "document.querySelectorAll('tbody tr:nth-child(n+9)').forEach((row) => row.remove())"
PAGES = (
    "/",
    "/executions",
    "/executions?status=failed&q=busy",
    f"/executions/{trace_id(FAILED)}",
    f"/executions/{trace_id(FAILED)}?node={103:016x}",
    f"/executions/{trace_id(LOOP)}",
    f"/executions/{trace_id(FAILED)}/graph",
    f"/executions/{trace_id(FAILED)}/flame",
    f"/executions/{trace_id(FAILED)}/failure",
    f"/executions/{trace_id(FAILED)}/statistics",
    f"/executions/{trace_id(FAILED)}/table",
    f"/executions/{trace_id(FAILED)}/nodes/{103:016x}",
    f"/compare/{trace_id(FAILED)}/last-good",
    "/failures",
    "/failures/busy",
    "/stuck",
    "/workflows",
    "/usage",
    "/alerts",
    "/workflows/order%20fulfilment",
    f"/runs/order-{FAILED}",
    "/conversations",
    "/conversations/chat%207",
    "/system",
    f"/executions/{trace_id(HOSTILE_RUN)}",
    f"/executions/{trace_id(HOSTILE_RUN)}/table",
)


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_no_page_has_a_fault(browser: Browser, site: str) -> None:
    found: dict[str, list[str]] = {}
    with opened(browser, site, now_ms=NOW_MS) as (page, seen):
        for path in PAGES:
            page.emulate_media(color_scheme="light")
            page.goto(path)
            if "?node=" in path:
                expect(page.locator("article.node h2")).to_have_text("charge card")
            if page.locator("#timeline").count():
                expect(page.locator("#timeline")).to_have_attribute("data-ready", "1")
            page.evaluate(FEW_ROWS)
            in_light = axe_findings(page, None)
            page.emulate_media(color_scheme="dark")
            found[path] = [*in_light, *axe_findings(page, "color-contrast"), *seen.faults]
            seen.faults.clear()
    assert {path: faults for path, faults in found.items() if faults} == {}
    assert seen.foreign == []


def test_narrow_pages_do_not_scroll_sideways(browser: Browser, site: str) -> None:
    widths = (390, 700, 768, 1024)
    with opened(browser, site, width=widths[0], height=800, now_ms=NOW_MS) as (page, _):
        wide = {}
        for path in (*PAGES[::2], "/workflows", "/api/v1/docs"):
            page.goto(path)
            for width in widths:
                page.set_viewport_size({"width": width, "height": 800})
                found = page.evaluate("document.documentElement.scrollWidth")
                if found > width:
                    wide[path, width] = found
        for width in widths:
            page.set_viewport_size({"width": width, "height": 800})
            page.goto("/executions?status=failed")
            expect(page.locator(".why").first).to_be_in_viewport()
            page.goto("/workflows")
            for number in page.locator("table.workflows tbody tr:first-child td.num").all():
                expect(number).to_be_in_viewport()
    assert wide == {}


def test_a_page_is_printed_without_what_only_a_screen_can_do(browser: Browser, site: str) -> None:
    with opened(browser, site, now_ms=NOW_MS) as (page, _):
        page.goto(f"/executions/{trace_id(FAILED)}/failure")
        page.emulate_media(media="print")
        assert page.locator("header.top, .tabs, button").evaluate_all("all => all.every((one) => !one.offsetParent)")
        expect(page.get_by_role("heading", name="failed first")).to_be_visible()


@pytest.mark.parametrize("width", [390, 1280])
def test_one_long_name_pushes_nothing_out_of_sight(browser: Browser, site: str, width: int) -> None:
    pages = [
        f"/executions/{trace_id(LONG_RUN)}",
        f"/executions/{trace_id(LONG_RUN)}/table",
        f"/executions/{trace_id(LONG_RUN)}/graph",
        f"/executions/{trace_id(LONG_RUN)}/failure",
        f"/compare/{trace_id(LONG_RUN)}/{trace_id(GOOD)}",
        f"/conversations/{LONG}",
        f"/runs/{LONG}",
        "/failures",
        "/workflows",
        f"/workflows/{LONG}",
        "/executions?since=" + LONG,
    ]
    with opened(browser, site, width=width, height=800, now_ms=NOW_MS) as (page, _):
        wide = {}
        for path in pages:
            page.goto(path)
            shown = page.evaluate("document.documentElement.scrollWidth")
            if shown > width:
                wide[path] = shown
            # A name of so many characters is some 4,000 pixels wide on one line.
            cells = page.locator("td").evaluate_all("all => Math.max(0, ...all.map((one) => one.clientWidth))")
            if cells > 800:
                wide[f"{path} cells"] = cells
    assert wide == {}


def test_from_the_start_page_to_the_cause_in_three_clicks(browser: Browser, site: str) -> None:
    with opened(browser, site, now_ms=NOW_MS) as (page, seen):
        page.goto("/")
        expect(page.locator("h1")).to_contain_text("of failure")
        page.locator("[data-region=failures]").get_by_role("link", name="newest run").first.click()
        expect(page.get_by_role("heading", name="failed first")).to_be_visible()
        page.get_by_role("heading", name="failed first").get_by_role("link").click()
        expect(page.locator("#panel article")).to_be_visible()
        assert seen.faults == []


def test_the_timeline_is_worked_by_keys(browser: Browser, site: str) -> None:
    with opened(browser, site, now_ms=NOW_MS) as (page, seen):
        page.goto(f"/executions/{trace_id(FAILED)}")
        expect(page.locator(".trow").first).to_contain_text("order fulfilment")
        expect(page.locator(".trow.chosen")).to_have_count(0)
        rows = page.locator(".trow").count()
        page.keyboard.press("e")
        expect(page.locator("article.node h2")).to_have_text("charge card")
        expect(page.locator(".trow.chosen").first).to_contain_text("attempt 1/3")
        assert "node=" in page.url, "a link to what is open"
        page.keyboard.press("Escape")
        expect(page.locator("#panel")).to_be_hidden()
        page.keyboard.press("[")
        expect(page.locator(".trow", has_text="below").first).to_be_visible()
        assert page.locator(".trow").count() < rows
        page.keyboard.press("]")
        expect(page.locator(".trow")).to_have_count(rows)
        page.keyboard.press("/")
        page.keyboard.type("fraud")
        expect(page.locator("#found")).to_have_text("3 found")
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_contain_text("next error")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        page.keyboard.press("g")
        page.keyboard.press("w")
        expect(page.get_by_role("heading", name="Workflows")).to_be_visible()
        assert seen.faults == []


def test_what_a_timeline_shows_is_searched_narrowed_and_in_its_address(browser: Browser, site: str) -> None:
    run = f"/executions/{trace_id(FAILED)}"
    with opened(browser, site, now_ms=NOW_MS) as (page, seen):
        page.goto(run)
        rows = page.locator(".trow .tname")
        find = page.get_by_role("combobox", name="Search nodes")
        find.fill("-kind:db -kind:task")
        expect(page.locator("#found")).to_have_text("10 found")
        page.get_by_label("only these").check()
        expect(rows).to_have_count(11)  # with the attempt that logs were written in
        find.fill("SELECT score kind:db")
        expect(rows).to_have_text(["order fulfilment", "score fraud", "SELECT score fraud", "SELECT score fraud"])
        page.reload()
        expect(rows).to_have_count(4)
        assert "only=1" in page.url and "find=SELECT+score+kind%3Adb" in page.url
        page.keyboard.press("e")  # leads out of what is shown
        expect(page.locator(".trow.chosen").first).to_contain_text("attempt 1/3")
        expect(page.get_by_label("only these")).not_to_be_checked()
        page.goto(f"{run}?find=a:1+b:2")
        expect(page.locator("#found")).to_contain_text("wanted one key:value")
        # A step alone with what is below it, as wide as there is room.
        page.goto(f"{run}?node={4:016x}")
        page.get_by_role("link", name="alone with what is below it").click()
        expect(rows).to_have_text(["check credit", "SELECT check credit", "SELECT check credit"])
        expect(page.locator(".trow").first).to_have_attribute("aria-level", "1")
        expect(page.get_by_role("button", name="whole time")).to_be_enabled()
        expect(page).to_have_url(re.compile(f"alone={4:016x}.*zoom=5944"))
        page.reload()
        expect(rows).to_have_count(3)
        page.locator("#rows").focus()
        page.keyboard.press("o")
        expect(rows).to_have_count(26)
        expect(page).not_to_have_url(re.compile("alone|zoom"))
        # On paper all rows are; where colours are forced bars keep theirs.
        page.emulate_media(media="print", forced_colors="active")
        page.set_viewport_size({"width": 700, "height": 300})
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator(".trow").count() == 26
        assert page.locator("#rows").evaluate("box => box.scrollHeight === box.clientHeight")
        colour = "one => getComputedStyle(one).backgroundColor"
        assert page.locator(".tbar.bad").first.evaluate(colour) == "rgb(207, 74, 80)"
        assert [one for one in seen.faults if "status of 422" not in one] == []


def test_attempts_and_turns_have_rows_above_them(browser: Browser, site: str) -> None:
    with opened(browser, site, now_ms=NOW_MS) as (page, seen):
        page.goto(f"/executions/{trace_id(FAILED)}")
        group = page.locator(".trow.tgroup")
        expect(group).to_contain_text("charge card3 attempts")
        expect(group).to_have_attribute("aria-level", "2")
        expect(page.locator(".trow", has_text="attempt 1/3")).to_have_attribute("aria-level", "3")
        rows = page.locator(".trow").count()
        group.click()
        expect(group).to_have_attribute("aria-expanded", "false")
        expect(page.locator(".trow", has_text="attempt")).to_have_count(1)
        page.keyboard.press("e")
        expect(page.locator(".trow.chosen")).to_contain_text("attempt 1/3")
        expect(page.locator(".trow")).to_have_count(rows)
        # The panel takes the cursor to its node when it comes.
        expect(page.locator("#panel article")).to_be_visible()
        page.locator("#rows").focus()
        page.keyboard.press("k")
        expect(page.locator(".trow.tgroup.chosen")).to_contain_text("3 attempts")
        page.keyboard.press("ArrowLeft")
        expect(page.locator(".trow", has_text="attempt 1/3")).to_have_count(0)
        page.goto(f"/executions/{trace_id(LOOP)}")
        expect(page.locator(".trow")).to_have_text(
            [re.compile(one) for one in ("agent", "turn 12 steps", "think", "search", "turn 21 step", "think")]
        )
        expect(page.locator(".tmark", has_text="turn")).to_have_count(0)
        assert seen.faults == []


def test_rows_of_the_timeline_tell_tokens_and_are_zoomed_to(browser: Browser, site: str) -> None:
    with opened(browser, site, now_ms=NOW_MS) as (page, seen):
        page.goto(f"/executions/{trace_id(1_000)}")
        expect(page.locator(".trow", has_text="think").locator(".tmark")).to_have_text(["484 tok"])
        expect(page.get_by_role("button", name="next error")).to_be_hidden()
        page.goto(f"/executions/{trace_id(LOOP)}")
        scale = page.locator("#scale span")
        expect(scale).to_have_text(["0 ms", "500 ms", "1.0 s", "1.5 s", "2.0 s", "2.5 s", ""])
        page.locator(".trow", has_text="search").click()
        page.keyboard.press("z")
        expect(scale.first).to_have_text("1.0 s")
        expect(page.get_by_role("button", name="whole time")).to_be_enabled()
        page.keyboard.press("0")
        expect(scale.first).to_have_text("0 s")
        assert seen.faults == []


def test_folded_spans_are_shown_on_demand(browser: Browser, migrated_url: str) -> None:
    store = Store(migrated_url)
    connect: Any = {"db.system": "postgresql"}
    store.write(
        [
            span(1, name="order", duration_ns=S),
            span(2, parent=1, name="load", duration_ns=S // 2),
            span(3, parent=2, name="connect", duration_ns=S // 4, attributes=connect, kind=3),
            span(4, parent=1, name="ship", start_ns=NOON_NS + S // 2, duration_ns=S // 2),
        ]
    )
    project_all(migrated_url, store)
    store.close()
    with api_over(migrated_url) as client, opened(browser, str(client.base_url)) as (page, seen):
        page.goto(f"/executions/{sent_trace_id(1).hex()}")
        expect(page.locator(".trow")).to_have_count(3)
        expect(page.locator(".tmark", has_text="+1")).to_be_visible()
        page.get_by_label("folded spans").check()
        expect(page.locator(".trow .tname")).to_have_text(["order", "load", "connect", "ship"])
        expect(page.locator(".tfolded")).to_have_attribute("aria-level", "3")
        assert axe_findings(page) == []
        page.locator(".tfolded").click()
        expect(page.locator("article.node h2")).to_have_text("load")
        page.keyboard.press("Escape")
        page.keyboard.press("h")
        expect(page.locator(".trow")).to_have_count(3)
        assert seen.faults == []


def test_steps_of_a_workflow_have_their_trend(browser: Browser, site: str) -> None:
    with opened(browser, site, now_ms=NOW_MS) as (page, seen):
        page.goto("/workflows/order%20fulfilment")
        step = page.locator("table.steps tr", has_text="charge card")
        expect(step.locator("svg rect.warn").first).to_be_attached()
        expect(step.locator("svg rect.bad").first).to_be_attached()
        told = re.compile(r"charge card over time: \d+ runs, \d+ failed, \d+ retried")
        expect(step.locator("svg")).to_have_attribute("aria-label", told)
        assert seen.faults == []


def test_a_failure_is_analysed_by_a_button(browser: Browser, site: str) -> None:
    with opened(browser, site, now_ms=NOW_MS) as (page, seen):
        page.goto(f"/executions/{trace_id(FAILED)}/failure")
        analysis = page.locator("#analysis")
        expect(analysis).to_contain_text("kept with the execution")
        analysis.get_by_role("button", name="Analyse", exact=True).click()
        expect(analysis).to_contain_text("charge card (task) failed with payments.ProcessorBusy")
        expect(analysis.get_by_role("heading", name="Fixes")).to_be_visible()
        expect(analysis.get_by_role("button", name="Analyse again")).to_be_focused()
        assert axe_findings(page) == []
        page.reload()
        expect(analysis).to_contain_text("by rules")
        assert seen.faults == []


def test_hostile_texts_are_texts(browser: Browser, site: str) -> None:
    with opened(browser, site, now_ms=NOW_MS) as (page, seen):
        page.on("dialog", lambda dialog: seen.faults.append(dialog.message))
        page.goto(f"/executions/{trace_id(HOSTILE_RUN)}")
        expect(page.locator(".tname")).to_have_text("<img src=x onerror=alert(1)>⟨U+202E⟩gnp␛[31m")
        page.locator(".trow").click()
        expect(page.locator("article.node h2")).to_contain_text("<img src=x")
        assert page.locator("main img").count() == 0
        assert seen.faults == []


def test_pages_are_light(browser: Browser, site: str) -> None:
    measured = {}
    for number, rows in ((FAILED, 20), (LARGE, 20)):
        with opened(browser, site, now_ms=NOW_MS) as (page, seen):
            page.goto(f"/executions/{trace_id(number)}")
            expect(page.locator("#timeline")).to_have_attribute("data-ready", "1")
            expect(page.locator(".trow").nth(rows)).to_be_attached()
            measured[number] = (seen.wire_bytes, page.locator(".trow").count())
    assert measured[FAILED][0] <= 44_000, f"25 nodes: {measured[FAILED][0]} bytes on the wire"
    assert measured[LARGE][0] <= 150_000, f"5,000 nodes: {measured[LARGE][0]} bytes on the wire"
    assert measured[LARGE][1] < 100, "rows that are not seen are not in the document"


def test_without_a_script_lists_heads_and_failures_read(browser: Browser, site: str) -> None:
    with opened(browser, site, script=False) as (page, _):
        page.goto("/executions?status=failed")
        page.get_by_role("link", name="order fulfilment").first.click()
        expect(page.locator("h1")).to_have_text("order fulfilment")
        expect(page.get_by_text("failed first").first).to_be_visible()
        page.get_by_role("link", name="Failure", exact=True).click()
        expect(page.get_by_role("heading", name="Retries")).to_be_visible()


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_a_run_of_a_hundred_thousand_nodes_is_read_in_parts(browser: Browser, migrated_url: str) -> None:
    insert(migrated_url, large(HUGE, 100_000, NOW_NS - HOUR_NS))
    with api_over(migrated_url) as client, opened(browser, str(client.base_url), now_ms=NOW_MS) as (page, seen):
        page.goto(f"/executions/{trace_id(HUGE)}")
        expect(page.locator(".trow[data-sequence]").nth(10)).to_be_visible(timeout=15_000)
        assert seen.wire_bytes < 150_000
        # The strip knows all of it before it is read: dragged over, it leads to the steps of that time.
        strip = page.locator("#minimap").bounding_box()
        assert strip is not None
        at = [strip["x"] + strip["width"] * part for part in (0.5, 0.6)]
        page.mouse.move(at[0], strip["y"] + 20)
        page.mouse.down()
        page.mouse.move(at[1], strip["y"] + 20, steps=3)
        page.mouse.up()
        middle = page.locator(".trow[data-sequence^='50']").first
        expect(middle.locator(".tbar")).to_be_visible(timeout=15_000)
        page.get_by_role("button", name="whole time").click()
        expect(page.get_by_role("button", name="whole time")).to_be_disabled()
        page.locator("#rows").focus()
        page.keyboard.press("End")
        expect(page.locator(".trow[data-sequence='100000']")).to_be_visible(timeout=15_000)
        assert page.locator(".trow").count() < 120
        # All of it is collapsed, what is not read too; and only what is seen is read.
        page.keyboard.press("[")
        expect(page.locator("#rows")).to_have_attribute("aria-rowcount", "1001")
        expect(page.locator(".trow").nth(5)).to_contain_text(re.compile("group 4.*99 below"))
        expect(page.get_by_label("1 failed below").first).to_be_visible()
        page.keyboard.press("]")
        expect(page.locator("#rows")).to_have_attribute("aria-rowcount", "100000")
        page.keyboard.press("/")
        page.keyboard.type("group 500")
        expect(page.locator("#found")).to_have_text("1 found")
        expect(page.locator(".trow.found")).to_contain_text("group 500")
        page.keyboard.press("Escape")
        page.keyboard.press("e")
        expect(page.locator("article.node h2")).to_contain_text("item", timeout=15_000)
        assert seen.wire_bytes < 400_000
        assert seen.faults == []


def test_a_page_follows_a_run_until_it_has_ended(browser: Browser, migrated_url: str) -> None:
    store = Store(migrated_url)

    def written(*spans: Any) -> None:
        store.write(spans)
        project_all(migrated_url, store)

    began_ns = NOW_NS - 10 * S
    try:
        written(live_mark(1, of=1, start_ns=began_ns), live_mark(2, of=2, of_parent=1, start_ns=began_ns + S))
        with api_over(migrated_url) as client, opened(browser, str(client.base_url)) as (page, seen):
            page.goto(f"/executions/{sent_trace_id(1).hex()}")
            expect(page.locator("#head .status")).to_contain_text("running")
            expect(page.locator(".trow")).to_have_count(2)
            written(
                span(2, parent=1, name="step", start_ns=began_ns + S),
                span(1, name="whole", start_ns=began_ns, duration_ns=5 * S),
            )
            expect(page.locator("#head .status")).to_contain_text("completed", timeout=20_000)
            expect(page.locator("#execution")).to_have_attribute("data-open", "0")
            assert seen.faults == []
    finally:
        store.close()


def test_what_changes_before_a_page_listens_is_told(browser: Browser, migrated_url: str) -> None:
    store = Store(migrated_url)

    def written(*spans: Any) -> None:
        store.write(spans)
        project_all(migrated_url, store)

    began_ns = NOW_NS - 10 * S
    try:
        written(live_mark(1, of=1, start_ns=began_ns))
        with api_over(migrated_url) as client, opened(browser, str(client.base_url)) as (page, seen):

            def between(route: Route) -> None:
                """The page is there and its stream is not: the run ends, another one begins."""
                written(span(1, name="whole", start_ns=began_ns), live_mark(3, of=3, trace=3, start_ns=began_ns + S))
                route.continue_()

            page.route("**/stream?*", between, times=1)
            page.goto(f"/executions/{sent_trace_id(1).hex()}")
            expect(page.locator("#head .status")).to_contain_text("completed")
            written(live_mark(4, of=4, trace=4, start_ns=began_ns))

            def again(route: Route) -> None:
                written(span(4, trace=4, start_ns=began_ns))
                route.continue_()

            page.route("**/stream?*", again)
            page.goto("/executions")
            expect(page.locator(f"#run-{sent_trace_id(4).hex()} .status")).to_contain_text("completed")
            assert seen.faults == []
    finally:
        store.close()


def test_a_page_that_follows_keeps_what_somebody_is_at(browser: Browser, migrated_url: str) -> None:
    store = Store(migrated_url)

    def written(*spans: Any) -> None:
        store.write(spans)
        project_all(migrated_url, store)

    began_ns = NOW_NS - 10 * S
    try:
        written(live_mark(1, of=1, start_ns=began_ns), live_mark(2, of=2, of_parent=1, start_ns=began_ns + S))
        with api_over(migrated_url) as client, opened(browser, str(client.base_url)) as (page, seen):
            page.clock.install()
            page.goto(f"/executions/{sent_trace_id(1).hex()}/graph?calls=all&node={2:016x}")
            expect(page.locator("#panel .status")).to_contain_text("running")
            page.locator("#head").get_by_role("link", name="Executions").focus()
            written(span(2, parent=1, name="step", start_ns=began_ns + S))
            expect(page.locator("#panel .status"), "of the step that is shown").to_contain_text("completed")
            expect(page.locator("#head dd", has_text="1 running")).to_be_visible()
            expect(page.locator("#head").get_by_role("link", name="Executions")).to_be_focused()
            expect(page.get_by_text("Without queries and requests"), "as it was asked for").to_be_visible()
            assert seen.faults == []
            with psycopg.connect(migrated_url) as connection:  # as retention does
                connection.execute("TRUNCATE spantree.trace, spantree.execution, spantree.node, spantree.span")
            page.clock.fast_forward("01:05")
            expect(page.locator("#live-state")).to_contain_text(f"no execution {sent_trace_id(1).hex()}")
    finally:
        store.close()


def test_what_time_alone_changes_is_shown(browser: Browser, migrated_url: str) -> None:
    with api_over(migrated_url) as client, opened(browser, str(client.base_url)) as (page, seen):
        page.clock.install()
        page.goto("/stuck")
        expect(page.locator("[data-region=stuck]")).to_contain_text("Nothing is stuck")
        insert(migrated_url, small(1, "nightly report", NOW_NS - 30 * HOUR_NS, "running"))  # no stream tells of it
        page.clock.fast_forward("01:05")
        expect(page.locator("[data-region=stuck]")).to_contain_text("nightly report")
        assert seen.faults == []


def test_a_rule_is_made_tried_silenced_and_taken_away(browser: Browser, migrated_url: str) -> None:
    store = Store(migrated_url)
    try:
        with (
            receiver() as hook,
            api_over(migrated_url, None, alerts=True, alert_private_hosts="127.0.0.1") as client,
            opened(browser, str(client.base_url)) as (page, seen),
        ):
            page.on("dialog", lambda dialog: dialog.accept())
            page.goto("/alerts")
            expect(page.get_by_text("There is no rule")).to_be_visible()
            page.get_by_label("Name").fill("orders fail")
            page.get_by_label("Told when").select_option("failure_rate")
            page.get_by_label("More than, % of the runs").fill("30")
            page.get_by_label("Within, minutes").fill("10")
            page.get_by_label("Of at least, runs").fill("1")
            page.get_by_role("textbox", name="Workflow").fill("orders")
            page.get_by_label("Webhook").fill(hook.url)
            expect(page.get_by_label("Longer than the p95, times")).to_be_hidden()
            page.get_by_role("button", name="Make the rule").click()
            expect(page.locator("#make-said")).to_contain_text("signed with")
            [rule] = ok(client.get("/api/v1/alerts/rules"))["rules"]
            assert (rule["threshold"], rule["window_s"], rule["min_runs"]) == (0.3, 600.0, 1)
            page.reload()
            expect(page.locator("table").first).to_contain_text(
                "more than 30 % of a workflow's runs fail within 10 min, of 1 at least"
            )
            page.get_by_role("button", name="Send a test").click()
            expect(page.locator("#rule-said")).to_have_text("The test was taken: 200.")
            assert [body["test"] for body in hook.bodies()] == [True]
            named: Attributes = {"spantree.execution.name": "orders"}
            store.write([span(1, name="orders", start_ns=time.time_ns() - S, attributes=named, error="no stock")])
            wait_until(lambda: len(hook.bodies()) == 2, 40, "the alert was delivered")
            page.reload()
            expect(page.get_by_role("link", name="orders", exact=True)).to_have_attribute("href", "/workflows/orders")
            page.get_by_role("button", name="Silent for 24 h").click()
            expect(page.get_by_text("silent, on again in 23 h")).to_be_visible()
            page.get_by_role("button", name="Silent no more").click()
            expect(page.locator("table").first.locator(".good")).to_have_text("on")
            page.get_by_role("button", name="Switch off").click()
            expect(page.get_by_role("button", name="Switch on")).to_be_visible()
            page.get_by_role("button", name="Take away").click()
            expect(page.get_by_text("There is no rule")).to_be_visible()
            assert seen.faults == []
    finally:
        store.close()
