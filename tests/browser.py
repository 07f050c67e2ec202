"""The system's Chromium, and what it has to say of a page: violations of the policy, errors, bytes, axe's findings."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Level A and AA of WCAG 2.2, and what axe recommends beyond.
_AXE = """async (rule) => (await axe.run(document, {
    resultTypes: ["violations"], preload: false, iframes: false,
    ...(rule && {runOnly: {type: "rule", values: [rule]}})
})).violations"""


def chromium_path() -> str | None:
    """SPANTREE_TEST_CHROMIUM, else the first of the usual names on PATH."""
    given = os.environ.get("SPANTREE_TEST_CHROMIUM")
    return given or next((found for name in _NAMES if (found := shutil.which(name))), None)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window. Skips the test where there is none."""
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium, or name one in SPANTREE_TEST_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Seen:
    """What happened on a page since it was opened."""

    faults: list[str] = field(default_factory=list)
    """errors of scripts, violations of the policy, failed requests"""
    foreign: list[str] = field(default_factory=list)
    """requests to anywhere else"""
    wire_bytes: int = 0
    """bodies and headers as they came, compressed"""


@contextlib.contextmanager
def opened(
    browser: Browser,
    base_url: str,
    *,
    scheme: Literal["light", "dark"] = "light",
    width: int = 1360,
    height: int = 860,
    now_ms: int | None = None,
    script: bool = True,
) -> Iterator[tuple[Page, Seen]]:
    """A new page with nothing kept from others. `now_ms`: the moment that its clock says."""
    context = browser.new_context(
        base_url=base_url,
        color_scheme=scheme,
        viewport={"width": width, "height": height},
        reduced_motion="reduce",
        java_script_enabled=script,
    )
    page = context.new_page()
    if now_ms is not None:
        page.clock.set_fixed_time(now_ms)
    seen = Seen()
    page.on("pageerror", lambda error: seen.faults.append(str(error)))
    # A refused stream or a page that is not there is said by the page itself.
    page.on(
        "console", lambda said: seen.faults.append(f"{said.text} {said.location}") if said.type == "error" else None
    )
    page.on("request", lambda asked: None if asked.url.startswith(base_url) else seen.foreign.append(asked.url))
    network = context.new_cdp_session(page)
    network.send("Network.enable")

    def finished(event: dict[str, Any]) -> None:
        seen.wire_bytes += int(event["encodedDataLength"])

    network.on("Network.loadingFinished", finished)
    try:
        yield page, seen
    finally:
        context.close()


def axe_findings(page: Page, rule: str | None = None) -> list[str]:
    """What axe finds on the page as it is, by all of its rules or one: rule and element."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found: list[dict[str, Any]] = page.evaluate(_AXE, rule)
    return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]
