"""Pages in a browser that follow what changes: nothing stale is left, nothing that somebody is at is taken away."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from tests.api_rows import NOW_NS, S
from tests.api_server import api_over
from tests.browser import chromium, opened
from tests.factories import span
from tests.factories import trace_id as sent_trace_id
from tests.postgres import new_database
from tests.tables import project_all, query

from spantree_exporter.postgres.store import Store
from spantree_exporter.span import Attributes

Written = Callable[..., None]
BEGAN_NS = NOW_NS - 600 * S


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def site(browser: Browser, postgres_url: str, _migrated_template: str) -> Iterator[tuple[str, str]]:
    """(database, address) of one API for all tests; the browser comes first, as none is made where there is none."""
    with new_database(postgres_url, template=_migrated_template) as url, api_over(url) as client:
        yield url, str(client.base_url)


@pytest.fixture
def written(site: tuple[str, str]) -> Iterator[Written]:
    """Spans into the database, which is empty, and their executions made."""
    url, _ = site
    query(url, "TRUNCATE spantree.span, spantree.execution, spantree.node, spantree.edge, spantree.trace")
    store = Store(url)

    def write(*spans: Any) -> None:
        store.write(spans)
        project_all(url, store)

    with contextlib.closing(store):
        yield write


@pytest.fixture
def page(browser: Browser, site: tuple[str, str], written: Written) -> Iterator[Page]:
    with opened(browser, site[1]) as (opened_page, seen):
        yield opened_page
        # What tests answer by themselves is told by the console.
        assert [one for one in seen.faults if not re.search("status of (422|502|503)|ERR_FAILED", one)] == []


def run(number: int, minute: int, error: str | None = None, **values: Any) -> Any:
    """A run of one step that began that minute."""
    return span(number, trace=number, name=f"run {number}", start_ns=BEGAN_NS + minute * 60 * S, error=error, **values)


def running(number: int, minute: int, trace: int, name: str, **values: Any) -> Any:
    """That a step has begun."""
    sent: Attributes = {"spantree.span_type": "pending_span"}
    start_ns = BEGAN_NS + minute * 60 * S
    return span(
        number, trace=trace, parent=number, name=name, start_ns=start_ns, duration_ns=0, attributes=sent | values
    )


def names(page: Page) -> list[str]:
    return page.locator("#list tbody tr .name").all_text_contents()


def test_a_list_shows_what_comes_to_be_like_its_filters_where_it_belongs(page: Page, written: Written) -> None:
    written(
        running(1, 1, 1, "run 1"),
        run(2, 2, "no stock"),
        run(3, 0, "no stock"),
        running(4, 4, 4, "run 4"),
    )
    page.goto("/executions?status=failed")
    expect(page.locator("#live-state")).to_contain_text("live")
    assert names(page) == ["run 2", "run 3"]
    written(run(1, 1, "too late"))
    expect(page.locator("#list tbody tr .name")).to_have_text(["run 2", "run 1", "run 3"])


def test_a_list_of_what_runs_lets_go_what_has_ended(page: Page, written: Written) -> None:
    written(*(running(number, number, number, f"run {number}") for number in (1, 2, 3)))
    page.goto("/executions?status=running")
    expect(page.locator("#live-state")).to_contain_text("live")
    assert names(page) == ["run 3", "run 2", "run 1"]
    written(run(2, 2))
    expect(page.locator("#list tbody tr .name")).to_have_text(["run 3", "run 1"])
    # While somebody is in it nothing moves, and it is told.
    page.keyboard.press("j")
    written(run(1, 1), running(4, 4, 4, "run 4"))
    expect(page.locator("#show-news")).to_have_text("1 new execution, 1 no longer like this")
    expect(page.locator("#list tbody tr .name")).to_have_text(["run 3", "run 1"])
    page.locator("#show-news").click()
    expect(page.locator("#list tbody tr .name")).to_have_text(["run 4", "run 3"])
    expect(page.locator("#list tbody tr .name").first).to_be_focused()


def test_the_next_page_of_a_list_goes_on_where_the_list_ends(page: Page, written: Written) -> None:
    written(*(run(number, 0) for number in range(1, 61)))
    page.goto("/executions")
    expect(page.locator("#live-state")).to_contain_text("live")
    before = page.locator("a[rel=next]").get_attribute("href")
    written(run(61, 1))
    expect(page.locator("#list tbody tr .name").first).to_have_text("run 61")
    expect(page.locator("#list tbody tr")).to_have_count(50)
    first = names(page)
    assert page.locator("a[rel=next]").get_attribute("href") != before
    page.locator("a[rel=next]").click()
    expect(page.locator("#list tbody tr")).to_have_count(11)
    assert len({*first, *names(page)}) == 61


def test_the_end_of_a_run_is_shown_whatever_is_selected(page: Page, written: Written) -> None:
    resource: Attributes = {"service.name": "shop", "host.name": "a", "deployment.environment.name": "prod"}
    sent: Attributes = {f"key {number}": number for number in range(9)}
    written(
        running(1, 0, 1, "whole"),
        running(2, 0, 1, "first", **{"spantree.pending_parent_id": f"{1:016x}"}),
        span(3, parent=1, name="step", start_ns=BEGAN_NS, duration_ns=S, resource=resource, attributes=sent),
    )
    page.clock.install()
    page.goto(f"/executions/{sent_trace_id(1).hex()}/table?node={3:016x}")
    expect(page).to_have_title("▶ whole · spantree")
    # What was opened, searched and scrolled to in the step that is shown stays so.
    panel = page.locator("#panel")
    panel.locator("summary", has_text="Resource").click()
    panel.get_by_placeholder("Search attributes").fill("key 7")
    page.get_by_placeholder("Search attributes").blur()
    page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
    written(
        span(4, parent=3, name="late", start_ns=BEGAN_NS, duration_ns=S // 2),
        span(2, parent=1, name="first", start_ns=BEGAN_NS),
    )
    expect(page.locator("#view").get_by_role("link", name="late")).to_be_visible()
    expect(panel.locator("summary", has_text="Resource").locator("..")).to_have_attribute("open", "")
    expect(panel.locator(".attributes.all").first.locator("> div:visible")).to_have_count(1)
    written(span(1, name="whole", start_ns=BEGAN_NS, duration_ns=5 * S))
    expect(page).to_have_title("✓ whole · spantree")
    page.evaluate("getSelection().removeAllRanges()")
    page.clock.fast_forward("01:05")
    expect(page.locator("#head .status").first).to_contain_text("completed")


def test_a_page_says_when_it_is_not_up_to_date_and_when_it_is_again(page: Page, written: Written) -> None:
    written(running(1, 0, 1, "whole"))
    page.clock.install()
    page.goto("/stuck")
    expect(page.locator("#live-state")).to_have_text("● live")

    def refused(route: Route) -> None:
        route.fulfill(status=503, body="<p class=lead>no database</p>", content_type="text/html")

    page.route("**/stuck", refused)
    page.clock.fast_forward("01:05")
    expect(page.locator("#live-state")).to_have_text("not up to date: no database")
    page.unroute("**/stuck")
    page.route("**/stuck", lambda route: route.abort())
    page.clock.fast_forward("01:05")
    expect(page.locator("#live-state")).to_have_text("not up to date: the server cannot be reached")
    page.unroute("**/stuck")
    page.clock.fast_forward("01:05")
    expect(page.locator("#live-state")).to_have_text("● live")


def test_a_page_never_shows_an_older_answer_after_a_newer_one(page: Page, written: Written) -> None:
    written(run(1, 0))
    page.goto("/")
    told = page.evaluate("""async () => {
        const { src } = document.querySelector("script[src*='frame']");
        const { gathered } = await import(src.replace("frame.js", "dom.js"));
        const told = [];
        let number = 0, done = [];
        const ask = gathered(async () => {
            const mine = ++number;
            told.push(`${mine} begins`);
            await new Promise((go) => done.push(go));
            told.push(`${mine} ends`);
        }, 1);
        const turn = () => new Promise((go) => setTimeout(go, 10));
        ask(); ask(); await turn();
        ask(); ask(); await turn();
        done.shift()(); await turn();
        done.shift()(); await turn();
        return told;
    }""")
    assert told == ["1 begins", "1 ends", "2 begins", "2 ends"]


def test_a_timeline_that_follows_keeps_the_rows_that_somebody_points_at(page: Page, written: Written) -> None:
    written(running(1, 0, 1, "whole"), span(2, parent=1, name="step", start_ns=BEGAN_NS))
    page.goto(f"/executions/{sent_trace_id(1).hex()}")
    row = page.locator(".trow", has_text="whole")
    expect(row.locator(".ttime")).to_contain_text("so far")
    page.evaluate("document.querySelectorAll('.trow').forEach((one) => { one.here = true; })")
    written(span(3, parent=1, name="late", start_ns=BEGAN_NS + S))
    expect(page.locator(".trow .tname")).to_have_text(["whole", "step", "late"])
    assert page.locator(".trow").evaluate_all("all => all.map((one) => Boolean(one.here))") == [True, True, False]
    assert page.locator(".trow .tname").all_text_contents() == ["whole", "step", "late"], "in the document, too"


def test_what_was_refused_can_be_changed_and_sent_again(page: Page, written: Written) -> None:
    page.goto("/alerts")
    page.get_by_label("Name").fill("orders fail")
    page.get_by_label("Webhook").fill("https://127.0.0.1/hook")
    page.get_by_role("button", name="Make the rule").click()
    expect(page.locator("#make-said")).not_to_be_empty()
    expect(page.get_by_role("textbox", name="Workflow")).to_be_enabled()
    page.route("**/api/v1/alerts/rules", lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"))
    page.get_by_role("button", name="Make the rule").click()
    expect(page.locator("#make-said")).to_have_text("the server answered 502")


def test_a_step_beside_the_timeline_is_told_and_gives_the_focus_back(page: Page, written: Written) -> None:
    written(span(1, name="whole", start_ns=BEGAN_NS), span(2, parent=1, name="step", start_ns=BEGAN_NS, error="no"))
    page.goto("/executions")
    page.goto(f"/executions/{sent_trace_id(1).hex()}")
    page.locator(".trow", has_text="step").click()
    expect(page.locator("#panel-said")).to_have_text("beside: step, failed")
    page.locator("#rows").focus()
    for key in "kjkj":
        page.keyboard.press(key)
        name = {"k": "whole", "j": "step"}[key]
        expect(page.locator("#panel h2").first).to_have_text(name)
    page.get_by_role("button", name="Close (Esc)").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()
    expect(page.locator("#rows")).to_be_focused()
    # Going through rows leaves the way back as long as it was.
    for _ in range(3):
        page.go_back()
    expect(page).to_have_url(re.compile("/executions$"))


def test_what_is_copied_needs_no_secure_page(page: Page, written: Written) -> None:
    written(span(1, name="whole", start_ns=BEGAN_NS))
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.goto(f"/executions/{sent_trace_id(1).hex()}")
    page.evaluate("document.addEventListener('copy', () => { window.copied = getSelection().toString(); })")
    page.get_by_role("button", name="Copy trace id").click()
    expect(page.locator("#said")).to_have_text("copied")
    assert page.evaluate("window.copied") == sent_trace_id(1).hex()
    expect(page.get_by_role("button", name="Copy trace id")).to_be_focused()


def test_keys_of_one_letter_can_be_switched_off(page: Page, written: Written) -> None:
    page.goto("/stuck")
    page.keyboard.press("?")
    page.get_by_label("Keys of one letter").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("w")
    page.keyboard.press("t")
    expect(page.locator("#times")).to_have_text("UTC")
    expect(page).to_have_url(re.compile("/stuck$"))
    page.reload()
    page.keyboard.press("t")
    expect(page.locator("#times")).to_have_text("UTC")
    page.get_by_role("button", name="Keys").click()
    page.get_by_label("Keys of one letter").check()
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    expect(page.locator("#times")).to_have_text("local")


def test_pages_side_by_side_leave_connections_for_the_next_one(page: Page, written: Written) -> None:
    written(run(1, 0))
    beside = [page.context.new_page() for _ in range(7)]
    for one in beside:
        one.goto("/stuck", timeout=10_000)
    told = [re.compile("live")] * 4 + [re.compile("asking every few seconds")] * 3
    for one, state in zip(beside, told, strict=True):
        expect(one.locator("#live-state")).to_have_text(state)
    beside[0].close()
    page.goto("/stuck")
    expect(page.locator("#live-state")).to_have_text("● live")
