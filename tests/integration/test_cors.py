"""Pages of other origins: none may ask or send, but those that the settings name, and those without cookies."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from tests.api_server import api_over
from tests.collectors import running, settings

from spantree_exporter.errors import ConfigError
from spantree_exporter.tokens import TokenBook

MINE, OTHERS = "https://app.example", "https://evil.example"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


def _allowed(answer: httpx.Response) -> tuple[str | None, str | None]:
    return answer.headers.get("access-control-allow-origin"), answer.headers.get("access-control-allow-credentials")


def test_the_api_answers_pages_of_the_origins_that_are_named(migrated_url: str) -> None:
    with TokenBook(migrated_url) as book:
        token = book.create_token("default", "read")
    with api_over(migrated_url, cors_origins=f"{MINE}, http://localhost:5173") as client:
        asked = client.options("/api/v1/executions", headers={"origin": MINE} | PREFLIGHT)
        assert (asked.status_code, _allowed(asked)) == (200, (MINE, None)), "before any token is shown"
        assert "authorization" in asked.headers["access-control-allow-headers"].lower()
        for origin in (OTHERS, "null", f"{MINE}.evil.example", "http://app.example", f"{MINE}:8443"):
            refusal = client.options("/api/v1/executions", headers={"origin": origin} | PREFLIGHT)
            assert (refusal.status_code, _allowed(refusal)) == (400, (None, None)), origin
            answer = client.get("/api/v1/executions", headers={"origin": origin, "authorization": f"Bearer {token}"})
            assert _allowed(answer) == (None, None)
        answer = client.get("/api/v1/executions", headers={"origin": MINE, "authorization": f"Bearer {token}"})
        assert (answer.status_code, _allowed(answer)) == (200, (MINE, None))
        assert "origin" in answer.headers["vary"].lower()
        refusal = client.get("/api/v1/executions", headers={"origin": MINE})
        assert (refusal.status_code, _allowed(refusal)) == (401, (MINE, None)), "the page is told why"
        for path in ("/", "/login", "/account"):
            assert _allowed(client.get(path, headers={"origin": MINE})) == (None, None), path


def test_the_api_allows_no_origin_unless_asked_to(migrated_url: str) -> None:
    with api_over(migrated_url) as client:
        asked = client.options("/api/v1/executions", headers={"origin": MINE} | PREFLIGHT)
        assert (asked.status_code, _allowed(asked)) == (405, (None, None))
        assert _allowed(client.get("/api/v1/executions", headers={"origin": MINE})) == (None, None)
        # Where nobody has to log in a page could ask for changes, although it could not read the answers.
        for site in ({"origin": OTHERS}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}):
            refusal = client.post(f"/api/v1/executions/{'0' * 32}/analyze", headers=site)
            assert refusal.status_code == 403, site
        assert client.post(f"/api/v1/executions/{'0' * 31}1/analyze").status_code == 404
    with api_over(migrated_url, cors_origins="*") as client:
        assert _allowed(client.get("/api/v1/executions", headers={"origin": OTHERS})) == ("*", None)


def test_browsers_send_otlp_from_the_origins_that_are_named(tmp_path: Path) -> None:
    config = settings(tmp_path, writers=0, collector_cors_origins=f"{MINE},http://localhost:5173")
    with running(config) as addresses, httpx.Client(base_url=addresses.http_url, timeout=30) as client:
        asked = client.options("/v1/traces", headers={"origin": MINE} | PREFLIGHT)
        assert (asked.status_code, _allowed(asked)) == (204, (MINE, None))
        assert asked.headers["access-control-allow-methods"] == "POST"
        assert {"authorization", "content-type", "content-encoding"} <= set(
            asked.headers["access-control-allow-headers"].split(", ")
        )
        for path in ("/v1/traces", "/v1/logs"):
            sent = client.post(path, json={}, headers={"origin": MINE})
            assert (sent.status_code, _allowed(sent), sent.headers["vary"]) == (200, (MINE, None), "origin")
            other = client.post(path, json={}, headers={"origin": OTHERS})
            assert (other.status_code, _allowed(other), other.headers["vary"]) == (200, (None, None), "origin")
        refusal = client.options("/v1/traces", headers={"origin": OTHERS} | PREFLIGHT)
        assert _allowed(refusal) == (None, None)
        assert _allowed(client.get("/metrics", headers={"origin": MINE})) == (None, None)
    with running(settings(tmp_path, writers=0)) as addresses:
        asked = httpx.options(f"{addresses.http_url}/v1/traces", headers={"origin": MINE} | PREFLIGHT, timeout=30)
        assert (asked.status_code, _allowed(asked)) == (405, (None, None))


@pytest.mark.parametrize(
    "origins", ["app.example", "https://app.example/", "https://a@app.example", "https://*.a.example"]
)
def test_what_is_no_origin_is_refused_at_the_start(tmp_path: Path, origins: str) -> None:
    with pytest.raises(ConfigError, match=r"SPANTREE_COLLECTOR_CORS_ORIGINS: .* is no origin"):
        settings(tmp_path, collector_cors_origins=f"https://b.example,{origins}")
