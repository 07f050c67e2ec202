"""The API and its pages below a path of a reverse proxy, which takes the path off or leaves it on."""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import expect
from tests.api_rows import NOW_NS, S, insert, trace, trace_id
from tests.api_server import api_over, ok
from tests.browser import chromium, opened
from tests.oidc_provider import CLIENT_ID, CLIENT_SECRET, oidc_provider
from tests.page_rows import order
from tests.postgres import new_database

from spantree_api.app import create_app, templates_of
from spantree_api.config import ApiConfig
from spantree_api.pages.assets import ASSETS
from spantree_api.people.settings import _OWN_PATHS, people_settings
from spantree_deploy.client import ApiClient, HttpTransport
from spantree_exporter.errors import ConfigError

PREFIX = "/tools/spantree"
_ADDRESS = re.compile(r'\s(?:href|src|action|data-from|data-follow|data-live|data-stream)="([^"]*)"')


@contextlib.contextmanager
def proxy_to(port: int, *, takes_off: bool) -> Iterator[str]:
    """The URL of a proxy that hands what comes below PREFIX to a port, as nginx does, and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def _pass(self) -> None:
            if not f"{self.path}/".startswith(f"{PREFIX}/"):
                self.send_error(404, "another service's")
                return
            target = self.path[len(PREFIX) :] if takes_off else self.path
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            behind = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            headers = {**self.headers, "x-forwarded-proto": "https", "accept-encoding": "identity"}
            behind.request(self.command, target if target.startswith("/") else f"/{target}", body, headers)
            answer = behind.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "connection", "date", "server"}:
                    self.send_header(name, value)
            self.send_header("connection", "close")
            self.end_headers()
            with contextlib.suppress(OSError):
                while part := answer.read1():
                    self.wfile.write(part)
            behind.close()
            self.close_connection = True

        do_GET = do_POST = do_HEAD = _pass  # noqa: N815  # as http.server names them

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="proxy", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture(scope="module")
def url(postgres_url: str, _migrated_template: str) -> Iterator[str]:
    with new_database(postgres_url, template=_migrated_template) as made:
        insert(
            made,
            order(1, NOW_NS - 20 * S, fails=True),
            order(2, NOW_NS - 30 * S),
            trace(3, started_ns=NOW_NS - S, workflow_name="a/b", run_id="r/1"),
        )
        yield made


@pytest.fixture(params=[True, False], ids=["taken off", "left on"])
def outside(url: str, request: pytest.FixtureRequest) -> Iterator[str]:
    with api_over(url, public_url=f"https://example.org{PREFIX}/") as api:
        port = api.base_url.port
        assert port is not None
        with proxy_to(port, takes_off=request.param) as address:
            yield address


def test_every_address_of_every_page_leads_below_the_path(outside: str) -> None:
    with httpx.Client(base_url=outside) as client:
        seen: set[str] = set()
        to_see = [PREFIX, f"{PREFIX}/", f"{PREFIX}/login", f"{PREFIX}/account", f"{PREFIX}/api/v1/docs"]
        to_see += [f"{PREFIX}/nowhere", f"{PREFIX}/compare/{trace_id(1)}/{trace_id(2)}", f"{PREFIX}/runs/r%2F1"]
        while to_see:
            path = to_see.pop()
            if path in seen or len(seen) > 150:
                continue
            seen.add(path)
            accept = "text/event-stream" if "stream" in path else "text/html"
            with client.stream("GET", path, headers={"accept": accept}) as answer:
                # (rows of these executions are there without their spans)
                wanted = 404 if path.endswith(("/nowhere", "/otlp")) else 200
                assert answer.status_code == wanted, path
                if answer.headers.get("content-type", "").startswith("text/html"):
                    page = answer.read().decode()
                    found = [one.replace("&amp;", "&").partition("#")[0] for one in _ADDRESS.findall(page)]
                    own = [one for one in found if one.startswith("/")]
                    assert not [one for one in own if not one.startswith(PREFIX)], path
                    assert not re.findall(r'="/(?:api|executions|static)/[^"]*', page), path
                    assert 'href="/' not in page.replace(f'href="{PREFIX}', ""), path
                    to_see += own
        assert len(seen) > 30


def test_redirects_name_no_host_and_the_path(outside: str) -> None:
    with httpx.Client(base_url=outside) as client:
        led = client.get(f"{PREFIX}/executions/")
        assert (led.status_code, led.headers["location"]) == (307, f"{PREFIX}/executions")
        led = client.get(f"{PREFIX}/executions?status=failed&status=")
        assert (led.status_code, led.headers["location"]) == (303, f"{PREFIX}/executions?status=failed")
        assert client.get(f"{PREFIX}/api/v1/openapi.json").json()["servers"] == [{"url": PREFIX}]
        assert client.head(f"{PREFIX}/healthz").status_code == 200


def test_commands_ask_below_the_path(outside: str) -> None:
    api = ApiClient(HttpTransport(f"{outside}{PREFIX}/", None, None), outside)
    assert len(api.get("executions")["executions"]) == 3
    assert api.page("/executions") == f"{outside}{PREFIX}/executions"


def test_scripts_find_what_they_ask_for(outside: str) -> None:
    with chromium() as browser, opened(browser, outside) as (page, seen):
        page.goto(f"{PREFIX}/executions/{trace_id(1)}")
        expect(page.locator("[data-ready]")).to_be_visible()
        page.locator("[data-node]").first.click()
        expect(page.locator("article.node")).to_be_visible()
        page.goto(f"{PREFIX}/executions/{trace_id(1)}/failure")
        page.locator("#analysis").get_by_role("button", name="Analyse").first.click()
        expect(page.get_by_role("button", name="Analyse again")).to_be_visible()
        page.get_by_role("link", name="Executions", exact=True).first.click()
        page.wait_for_url(f"**{PREFIX}/executions")
        assert (seen.faults, seen.foreign) == ([], [])


def test_scripts_name_no_path_of_ours_but_by_where_they_are() -> None:
    for name, asset in ASSETS.items():
        lines = asset.plain.decode().splitlines()
        assert not [line for line in lines if re.search(r"(?<!own\()[`\"']/[a-z]", line) and name.endswith(".js")], name


def test_without_a_path_redirects_name_no_host_either(url: str) -> None:
    with api_over(url) as api:
        led = api.get("/executions/?x=1", headers={"host": "elsewhere.example"})
        assert (led.status_code, led.headers["location"]) == (307, "/executions?x=1")
        assert ok(api.get("/api/v1/openapi.json")).get("servers") is None


def test_a_log_in_comes_back_below_the_path(url: str) -> None:
    with oidc_provider() as provider:
        provider.claims = {"sub": "u-1", "preferred_username": "ada"}
        settings: dict[str, Any] = {
            "oidc_issuer": provider.issuer,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": CLIENT_SECRET,
            "roles": "*=default:read",
            "public_url": f"https://example.org{PREFIX}",
        }
        with api_over(url, **settings) as api, httpx.Client(base_url=str(api.base_url)) as client:
            client.headers.update({"host": "example.org", "x-forwarded-proto": "https", "accept": "text/html"})
            led = client.get(f"{PREFIX}/executions?q=a")
            assert led.headers["location"] == f"{PREFIX}/login?next=/executions%3Fq%3Da"
            assert f'href="{PREFIX}/login/oidc?next=' in client.get(led.headers["location"]).text
            began = client.get(f"{PREFIX}/login/oidc?next=/executions%3Fq%3Da")
            asked = parse_qs(urlsplit(began.headers["location"]).query)
            assert asked["redirect_uri"] == [f"https://example.org{PREFIX}/login/callback"]
            (cookie,) = began.headers.get_list("set-cookie")
            assert cookie.startswith("__Host-") and "Path=/;" in cookie and "Secure" in cookie
            back = urlsplit(httpx.get(began.headers["location"], timeout=30).headers["location"])
            assert back.path == f"{PREFIX}/login/callback"
            came = client.get(f"{back.path}?{back.query}", headers={"cookie": cookie.partition(";")[0]})
            assert came.headers["location"] == f"{PREFIX}/executions?q=a"


def test_a_provider_on_the_same_host_is_led_to_as_it_is(url: str) -> None:
    """As where one proxy has both, https://example.org/realms/team and https://example.org/spantree."""
    with oidc_provider() as provider:
        settings: dict[str, Any] = {
            "oidc_issuer": provider.issuer,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": CLIENT_SECRET,
        }
        host = urlsplit(provider.issuer).netloc
        with api_over(url, public_url=f"http://{host}{PREFIX}", **settings) as api:
            began = api.get("/login/oidc", headers={"host": host, "accept": "text/html"})
            assert began.headers["location"].startswith(f"{provider.issuer}/authorize?")


@pytest.mark.parametrize("path", ["/api", "/login/x", "/a b", "/a//b", "/../a", "/a/..", "/a?b", "/a%2Fb", "//a"])
def test_a_path_that_cannot_be_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="SPANTREE_API_PUBLIC_URL"):
        people_settings(ApiConfig(public_url=f"https://example.org{path}"))


def test_no_path_of_ours_may_begin_the_prefix() -> None:
    paths = templates_of(create_app(ApiConfig(database_url="postgresql://nobody@127.0.0.1:1/none")))
    assert {path.split("/")[1].split("{")[0] for path in paths} - {""} <= _OWN_PATHS
