"""`make bench-pages`: bytes on the wire and time until a page can be used, in the system's Chromium.

    .venv/bin/python -m benchmarks.pages

Usable: the rows are in the document and three animation frames in a row took less than 50 ms each. Of three openings
with nothing kept, the median.
"""

from __future__ import annotations

import statistics
import sys

from playwright.sync_api import Browser, Page
from tests.api_rows import NOW_NS, S, insert, trace_id
from tests.api_server import api_over
from tests.browser import chromium, opened
from tests.page_rows import large, order, two_weeks
from tests.postgres import new_database, throw_away_server

from spantree_exporter.postgres.migrate import migrate

_USABLE = """() => new Promise((done) => {
  let last = performance.now(), quick = 0;
  const frame = (now) => {
    const there = document.querySelector(".trow[data-sequence], table tbody tr, svg .box, .verdict");
    quick = there && now - last < 50 ? quick + 1 : 0;
    last = now;
    if (quick === 3) done(performance.now()); else requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})"""
_OPENINGS = 3


def _measured(browser: Browser, base_url: str, path: str) -> tuple[float, int, int]:
    """(ms until usable, bytes on the wire, elements in the document)."""
    with opened(browser, base_url, now_ms=NOW_NS // 1_000_000) as (page, seen):
        page.goto(path, wait_until="commit")
        usable_ms = float(page.evaluate(_USABLE))
        page.wait_for_load_state("networkidle") if "executions/" in path else None
        return usable_ms, seen.wire_bytes, _elements(page)


def _elements(page: Page) -> int:
    return int(page.evaluate("document.querySelectorAll('*').length"))


def main() -> int:
    """Print one line a page."""
    with chromium() as browser, throw_away_server() as server, new_database(server) as url:
        migrate(url)
        hour_ns = 3_600 * S
        sizes = {"25 nodes": order(1, NOW_NS - hour_ns, fails=True)}
        sizes["5,000 nodes"] = large(2, 5_000, NOW_NS - 2 * hour_ns)
        sizes["100,000 nodes"] = large(3, 100_000, NOW_NS - 3 * hour_ns)
        insert(url, *two_weeks(NOW_NS), *sizes.values())
        pages = {f"execution, {name}": f"/executions/{one.trace_id}" for name, one in sizes.items()}
        pages |= {"graph, 25 nodes": f"/executions/{trace_id(1)}/graph", "executions": "/executions", "now": "/"}
        with api_over(url) as client:
            for name, path in pages.items():
                found = [_measured(browser, str(client.base_url).rstrip("/"), path) for _ in range(_OPENINGS)]
                usable_ms, wire_bytes, elements = (statistics.median(values) for values in zip(*found, strict=True))
                print(f"{name:<26} {usable_ms:7,.0f} ms  {wire_bytes / 1000:7,.1f} kB  {elements:6,.0f} elements")
    return 0


if __name__ == "__main__":
    sys.exit(main())
