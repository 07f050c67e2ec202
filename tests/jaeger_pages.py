"""The real Jaeger's pages on spantree, in Chromium: what they show is looked at, and is compared with what was sent.

    .venv/bin/python -m tests.jaeger_pages JAEGER ASSETS --into build/jaeger

JAEGER is its binary (2.13 or newer), ASSETS the folder that building jaeger-ui leaves (packages/jaeger-ui/build; a
Jaeger built from its Go module has no pages of its own). Runs the demo, sends a trace of 10,000 spans and opens search,
a trace, comparison and dependencies; leaves a picture of each. Exit status 1 where something is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import orjson
from playwright.sync_api import Page
from tests.browser import chromium
from tests.spantree_process import started
from tests.waiting import free_port, wait_until

ROOT = Path(__file__).parents[1]
MANY = 10_000
LARGE = f"{0xB16:032x}"
_WAIT_MS = 120_000


@contextmanager
def jaeger(binary: Path, assets: Path, storage_port: int, spantree_url: str, folder: Path) -> Iterator[str]:
    """Jaeger as deploy/jaeger.yaml runs it, with its pages; the address of these."""
    config = folder / "jaeger-ui.json"
    text = (ROOT / "deploy" / "jaeger-ui.json").read_text()
    config.write_text(text.replace("http://127.0.0.1:8000", spantree_url))
    ports = {name: str(free_port()) for name in ("JAEGER_HEALTH_PORT", "JAEGER_QUERY_PORT", "JAEGER_QUERY_GRPC_PORT")}
    env = {
        **os.environ,
        **ports,
        "JAEGER_SPANTREE_ENDPOINT": f"127.0.0.1:{storage_port}",
        "JAEGER_UI_CONFIG": str(config),
    }
    command = [
        str(binary),
        "--config",
        str(ROOT / "deploy" / "jaeger.yaml"),
        f"--set=extensions.jaeger_query.ui.assets_path={assets}",
    ]
    url = f"http://127.0.0.1:{ports['JAEGER_QUERY_PORT']}"
    with (folder / "jaeger.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: _answers(f"{url}/api/services"), 120, f"Jaeger answers: {folder / 'jaeger.log'}")
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def send_large(otlp_url: str) -> None:
    """One trace of 10,000 spans, a thousand a request."""
    now_ns = time.time_ns()
    for first in range(1, MANY + 1, 1_000):
        spans = [
            {
                "traceId": LARGE,
                "spanId": f"{number:016x}",
                **({"parentSpanId": f"{1 + (number - 2) // 100:016x}"} if number > 1 else {}),
                "name": "large" if number == 1 else f"part {number % 50}",
                "startTimeUnixNano": str(now_ns + number * 1_000),
                "endTimeUnixNano": str(now_ns + (20_000_000_000 if number == 1 else number * 1_000 + 5_000_000)),
                "attributes": [{"key": "part", "value": {"intValue": str(number)}}],
            }
            for number in range(first, min(first + 1_000, MANY + 1))
        ]
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "large"}}]}
        body = orjson.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]})
        headers = {"content-type": "application/json"}
        httpx.post(
            f"{otlp_url}/v1/traces", content=body, headers=headers, trust_env=False, timeout=60
        ).raise_for_status()


class Tour:
    """Goes through the pages, one picture each, and notes what is wrong."""

    def __init__(self, page: Page, url: str, into: Path) -> None:
        self._page = page
        self._url = url
        self._into = into
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        page.on("response", lambda answer: self._answered(answer.status, answer.url))

    def _answered(self, status: int, url: str) -> None:
        if status >= 400 and "/api/" in url:
            self.wrong.append(f"{url} answered {status}")

    def see(self, name: str, path: str, wanted: str, then: Callable[[Page], None] = lambda _: None) -> str:
        """Open a page, wait for a text on it, and take a picture; the text of the page."""
        self._page.goto(f"{self._url}{path}")
        try:
            self._page.wait_for_function(
                "wanted => document.body.innerText.includes(wanted)", arg=wanted, timeout=_WAIT_MS
            )
        except Exception as error:
            self.wrong.append(f"{name}: no {wanted!r}: {str(error).splitlines()[0]}")
        then(self._page)
        self._page.wait_for_timeout(1_500)
        self._page.screenshot(path=self._into / f"{name}.png")
        text: str = self._page.inner_text("body")
        print(f"{name}: {len(text):,} characters")
        return text

    def expect(self, holds: bool, what: str) -> None:
        """Note what is not as it should be."""
        if not holds:
            self.wrong.append(what)


def main() -> int:
    """Run the tour and say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jaeger", type=Path)
    parser.add_argument("assets", type=Path)
    parser.add_argument("--into", type=Path, default=Path("build/jaeger"))
    chosen = parser.parse_args()
    chosen.into.mkdir(parents=True, exist_ok=True)
    storage_port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="spantree-jaeger-") as name,
        started(
            "demo", "--keep", "--free-ports", "--data", f"{name}/data", directory=Path(name),
            env={"SPANTREE_API_JAEGER_PORT": str(storage_port)}, ready="starting the demo",
        ) as server,
    ):  # fmt: skip
        server.line("running;", _WAIT_MS / 1_000 * 3)
        with (
            jaeger(chosen.jaeger.resolve(), chosen.assets.resolve(), storage_port, server.api_url, Path(name)) as url,
            chromium() as browser,
            httpx.Client(base_url=server.api_url, trust_env=False, timeout=60) as api,
        ):
            tour = Tour(browser.new_page(viewport={"width": 1280, "height": 800}), url, chosen.into)
            send_large(server.otlp_url)
            there = f"/api/v1/executions/{LARGE}"
            wait_until(lambda: api.get(there).status_code == 200, 120, "the large trace is there")
            _go(tour, server.api_url, api)
    for one in tour.wrong:
        print(f"wrong: {one}", file=sys.stderr)
    return 1 if tour.wrong else 0


def _newest(api: httpx.Client, **wanted: str | int) -> dict[str, str]:
    answer = api.get("/api/v1/executions", params={"limit": 1, **wanted}).raise_for_status().json()
    found: dict[str, str] = answer["executions"][0]
    return found


def _go(tour: Tour, spantree_url: str, api: httpx.Client) -> None:
    failed, good = _newest(api, status="failed"), _newest(api, status="completed", kind="workflow")
    service, trace_id, good_id = failed["service"], failed["execution_id"], good["execution_id"]
    tour.see("search form", "/search", "Find Traces")
    found = tour.see("search", f"/search?service={quote(service)}&lookback=1h&limit=20", "Trace")
    tour.expect(bool(re.search(r"\d+ Traces?", found)), f"search finds no traces of {service}: {found[:500]}")
    tags = quote(json.dumps({"part": "7777"}))
    rare = tour.see("search by a tag", f"/search?service=large&lookback=1h&limit=20&tags={tags}", "1 Trace")
    tour.expect("10000 Spans" in rare or "10,000 Spans" in rare, f"no trace of 10,000 spans: {rare[:500]}")
    trace = tour.see("trace", f"/trace/{trace_id}", "Trace Start")
    tour.expect("Total Spans" in trace, f"no count of spans: {trace[:300]}")
    tour.see("large trace", f"/trace/{LARGE}", "10000")
    tour.see("comparison", f"/trace/{trace_id}...{good_id}?cohort={trace_id}&cohort={good_id}", "Spans:")
    tour.see("dependencies", "/dependencies", "Focal Service")
    tour.see("trace with links", f"/trace/{trace_id}", "Trace Start", _open_links(tour, spantree_url, trace_id))


def _open_links(tour: Tour, spantree_url: str, trace_id: str) -> Callable[[Page], None]:
    def look(page: Page) -> None:
        wanted = f"{spantree_url}/executions/{trace_id}"
        links = page.locator(f'a[href="{wanted}"]')
        tour.expect(links.count() > 0, f"no link to {wanted}")

    return look


if __name__ == "__main__":
    sys.exit(main())
