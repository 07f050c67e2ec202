"""Every call and query of docs/features.md answers, on executions that have what it speaks of."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from tests.api_rows import fold_all
from tests.api_server import api_over
from tests.factories import NOON_NS, SECOND_NS, span, trace_id, workflow
from tests.postgres import new_database
from tests.tables import project_all, query

from spantree_exporter.postgres.store import Store
from spantree_exporter.span import KIND_SERVER, Attributes

PAGE = Path(__file__).parents[2] / "docs" / "features.md"
ROWS = [
    (line.split("|")[1].strip(), line.split("|")[2].strip())
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| what ", "|---"))
]


@dataclass(frozen=True, slots=True)
class Answers:
    """What is asked, and the names of the page with what stands for them here."""

    api: httpx.Client
    database_url: str
    names: dict[str, str]

    def here(self, text: str) -> str:
        return re.sub(r"\b[A-Z]{2,}\b", lambda found: self.names.get(found[0], found[0]), text)


@pytest.fixture(scope="module")
def answers(postgres_url: str, _migrated_template: str) -> Iterator[Answers]:
    with new_database(postgres_url, template=_migrated_template) as url:
        store = Store(url)
        asked: Attributes = {
            "http.request.method": "POST",
            "http.route": "/orders",
            "url.path": "/orders",
            "user.id": "ann",
        }
        named: Attributes = {
            "spantree.execution.name": "billing",
            "spantree.run.id": "run-1",
            "spantree.project": "shop",
        }
        chat: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m-1",
            "gen_ai.usage.input_tokens": 7,
        }
        store.write(workflow(1, failing=True))
        store.write(workflow(2))
        store.write(
            [
                span(1, trace=3, name="POST /orders", kind=KIND_SERVER, attributes=asked),
                span(2, trace=3, parent=1, name="billing", attributes=named),
                span(3, trace=3, parent=2, name="chat m-1", attributes=chat),
            ]
        )
        project_all(url, store)
        store.close()
        fold_all(url)
        [(project, fingerprint)] = query(
            url,
            "SELECT (SELECT project FROM spantree.execution WHERE project IS NOT NULL),"
            " (SELECT error_fingerprint FROM spantree.execution WHERE error_fingerprint IS NOT NULL)",
        )
        names = {
            "ID": trace_id(1).hex(),
            "OTHER": trace_id(2).hex(),
            "NODE": f"{4:016x}",
            "CONVERSATION": "conversation-1",
            "RUN": "run-1",
            "WORKFLOW": "order-flow",
            "PROJECT": project,
            "FINGERPRINT": fingerprint,
        }
        with api_over(url, now_ns=NOON_NS + 3_600 * SECOND_NS) as api:
            yield Answers(api, url, names)


@pytest.mark.parametrize(("said", "answered"), ROWS, ids=[said for said, _ in ROWS])
def test_each_line_is_answered(answers: Answers, said: str, answered: str) -> None:
    asked = re.findall(r"`((?:GET|POST|SELECT|spantree) [^`]+)`", answered)
    assert asked or "](" in answered, f"{said!r} names no call, no query and no page"
    for one in asked:
        program, _, rest = answers.here(one).partition(" ")
        if program == "SELECT":
            with psycopg.connect(answers.database_url) as connection:
                connection.execute(f"SELECT {rest}".encode())
        elif program == "spantree":
            _run(answers, rest)
        elif rest.endswith("/stream"):
            with answers.api.stream(program, f"/api/v1{rest}") as stream:
                assert stream.status_code == 200
                assert next(stream.iter_lines()).startswith(("retry:", "event:", "id:", "data:", ":"))
        else:
            _ask(answers, program, rest, one)


def _ask(answers: Answers, method: str, path: str, said: str) -> None:
    response: Any = answers.api.request(method, f"/api/v1{path}")
    assert response.status_code == 200, f"{said}: {response.status_code} {response.text[:500]}"


def _run(answers: Answers, arguments: str) -> None:
    program = Path(sys.executable).parent / "spantree"
    done = subprocess.run(
        [program, *arguments.split()],
        env={**os.environ, "SPANTREE_API_URL": str(answers.api.base_url), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"spantree {arguments}: {done.stdout}{done.stderr}"
