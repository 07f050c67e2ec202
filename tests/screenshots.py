"""`make screenshots`: pictures of the pages for README and docs, of the demo's services and two weeks of made-up runs.

    .venv/bin/python -m tests.screenshots [--into docs/images] [--all] [--only timeline system]

With `--all` every page in light, dark and on a narrow screen, to be looked at; else the few that the docs show.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

import httpx
from playwright.sync_api import Browser, Page
from tests.api_rows import insert
from tests.browser import chromium, opened
from tests.page_rows import small, two_weeks
from tests.spantree_process import started

# What the docs show: name, light or dark, and how wide.
_SHOWN: tuple[tuple[str, Literal["light", "dark"], int], ...] = (
    ("now", "light", 1060),
    ("timeline", "light", 1060),
    ("timeline", "dark", 1060),
    ("graph", "light", 1060),
    ("flame", "light", 1060),
    ("workflow", "light", 1060),
    ("compare", "light", 1060),
)
_ALL: tuple[tuple[Literal["light", "dark"], int], ...] = (("light", 1060), ("dark", 1280), ("light", 390))
_ORDER = {"customer": "ada", "items": {"tea": 2, "cup": 4}, "express": True}


def paths(api: httpx.Client) -> dict[str, str]:
    """Each page by the name of its picture."""
    failed = api.get("/executions", params={"status": "failed", "q": "busy", "limit": 1}).json()["executions"][0]
    partial = api.get("/executions", params={"status": "partial", "limit": 1}).json()["executions"][0]
    talk = api.get("/executions", params={"workflow": "shop assistant", "limit": 1}).json()["executions"][0]
    run = f"/executions/{failed['execution_id']}"
    groups = api.get("/failures/groups").json()["groups"]
    return {
        "now": "/",
        "executions": "/executions",
        "timeline": f"{run}?node={failed['first_failed_node']['id']}",
        "graph": f"/executions/{partial['execution_id']}/graph",
        "flame": f"{run}/flame",
        "failure": f"{run}/failure",
        "table": f"{run}/table",
        "raw": f"{run}/raw",
        "node": f"/executions/{talk['execution_id']}/nodes/"
        + api.get(f"/executions/{talk['execution_id']}/nodes").json()["nodes"][3]["id"],
        "compare": f"/compare/{failed['execution_id']}/last-good",
        "failures": "/failures",
        "cause": f"/failures/{groups[0]['fingerprint']}",
        "stuck": "/stuck",
        "workflows": "/workflows",
        "workflow": "/workflows/order%20fulfilment",
        "run": f"/runs/{failed['run_id']}",
        "conversation": f"/conversations/{talk['conversation_id']}",
        "system": "/system",
    }


def shoot(browser: Browser, base_url: str, path: str, into: Path, scheme: Literal["light", "dark"], width: int) -> None:
    """One picture, of what is seen without scrolling; of a workflow its map."""
    height = 844 if width < 600 else 540 if "node=" in path else 600
    with opened(browser, base_url, scheme=scheme, width=width, height=height) as (page, _):
        page.goto(path)
        _settled(page)
        if path.startswith("/workflows/"):
            page.evaluate("scrollTo(0, document.querySelector('.graph').offsetTop - 120)")
        page.screenshot(path=into)


def _settled(page: Page) -> None:
    if page.locator("#timeline").count():
        page.wait_for_selector("#timeline[data-ready]", state="attached")
    if "node=" in page.url:
        page.wait_for_selector("article.node")
        # Paths of this machine are not for the docs.
        page.locator("article.node details").evaluate_all("all => all.forEach((one) => { one.open = false; })")
    page.wait_for_timeout(400)


def main() -> int:
    """Make the pictures. Exit status 1 where one is larger than the docs may carry."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=Path("docs/images"))
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only", nargs="+", help="of these pages, by the names of their pictures")
    chosen = parser.parse_args()
    chosen.into.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="spantree-screenshots-") as folder,
        chromium() as browser,
        started("demo", "--keep", "--free-ports", "--data", f"{folder}/data", directory=Path(folder)) as server,
    ):
        now_ns = time.time_ns()
        open_runs = [small(5_000 + at, "triage agent", now_ns - at * 45_000_000_000, "running") for at in (1, 2)]
        insert(server.told("SQL").split("'")[1], *two_weeks(now_ns), *open_runs)
        with httpx.Client(base_url=f"{server.api_url}/api/v1", trust_env=False, timeout=60) as api:
            pages = paths(api)
        large = []
        every = [(name, scheme, width) for name in pages for scheme, width in _ALL]
        for name, scheme, width in every if chosen.all else _SHOWN:
            if chosen.only and name not in chosen.only:
                continue
            ending = f"{'-narrow' if width < 600 else ''}{'-dark' if scheme == 'dark' else ''}.png"
            into = chosen.into / f"{name}{ending}"
            shoot(browser, server.api_url, pages[name], into, scheme, width)
            print(f"{into}  {into.stat().st_size:,} bytes")
            if into.stat().st_size > 100_000:
                large.append(into.name)
    if large:
        print(f"larger than 100,000 bytes: {', '.join(large)}", file=sys.stderr)
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
