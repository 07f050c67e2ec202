"""`spantree doctor`: what it finds wrong, with what runs and with what does not."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
from tests.spantree_process import spantree, up


class TestDoctor:
    def test_finds_nothing_wrong_with_what_runs(self, database_url: str, tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": database_url}
        with up(tmp_path, env=env) as server:
            options = ["--data", str(tmp_path / "data"), *server.port_options]
            done = spantree("doctor", *options, directory=tmp_path, env=env)
            lines = done.stdout.splitlines()
            assert done.returncode == 0, done.stdout
            assert [line for line in lines[:-2] if not line.startswith("ok ")] == []
            assert [line.split()[1].rstrip(":") for line in lines[:-2]] == [
                *("spantree", "hot", "database", "schema", "partitions", "projection", "figures", "row-level", "dead"),
                *("collector", "collector", "writing", "projecting", "spool", "API"),
            ]
            assert lines[-1] == "all is well"

    def test_what_runs_is_found_by_its_data(self, database_url: str, tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": database_url}
        with up(tmp_path, env=env) as server:
            data = ["--data", str(tmp_path / "data")]
            done = spantree("doctor", *data, directory=tmp_path, env=env)
            assert done.stdout.splitlines()[-1] == "all is well"
            told = spantree("env", *data, directory=tmp_path, env=env).stdout
            assert f"OTEL_EXPORTER_OTLP_ENDPOINT={server.otlp_url}" in told.splitlines()

    def test_says_what_is_wrong_and_what_to_do(self, database_url: str, tmp_path: Path) -> None:
        options = ["--data", str(tmp_path), "--api-port", "1", "--otlp-http-port", "2"]
        done = spantree("doctor", *options, directory=tmp_path, env={"SPANTREE_DATABASE_URL": database_url})
        assert done.returncode == 1
        problems = [line for line in done.stdout.splitlines() if line.startswith("problem")]
        assert problems == [
            "problem schema: the schema spantree is not there -> run `spantree migrate`",
            "problem collector: nothing answers on http://127.0.0.1:2 -> run `spantree up` or `spantree collector`",
            "problem API: nothing answers on http://127.0.0.1:1 -> run `spantree up` or `spantree api`",
        ]
        assert done.stdout.endswith("\n3 problems\n")

    def test_names_refused_requests_by_their_likely_cause(self, database_url: str, tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": database_url}
        with up(tmp_path, env=env) as server:
            httpx.post(f"{server.otlp_url}/v1/trace", content=b"", trust_env=False)
            with socket.create_connection(("127.0.0.1", int(server.otlp_url.rpartition(":")[2]))) as sender:
                sender.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")  # as gRPC begins
                assert b"400 Bad Request" in sender.recv(1000)
            done = spantree("doctor", "--data", tmp_path / "data", *server.port_options, directory=tmp_path, env=env)
        problems = [line.partition(" -> ")[0] for line in done.stdout.splitlines() if line.startswith("problem")]
        assert sorted(problems) == [
            "problem refused requests: 1 over http, no_such_path: most often an exporter with a wrong path, "
            "or one that sends metrics or logs",
            "problem refused requests: 1 over http, not_http: most often gRPC or TLS sent to the port of plain HTTP",
        ]

    def test_names_a_token_that_is_none(self, database_url: str, tmp_path: Path) -> None:
        env = {"SPANTREE_DATABASE_URL": database_url}
        with up(tmp_path, env=env) as server:
            wrong = {"authorization": "Bearer none", "content-type": "application/x-protobuf"}
            httpx.post(f"{server.otlp_url}/v1/traces", content=b"", headers=wrong, trust_env=False)
            asked = ["doctor", "--data", str(tmp_path / "data"), *server.port_options]
            done = spantree(*asked, directory=tmp_path, env={**env, "SPANTREE_TOKEN": "none"})
        problems = [line for line in done.stdout.splitlines() if line.startswith("problem")]
        assert problems[0].startswith(
            "problem refused requests: 1 over http, unauthenticated: most often a sender without a token"
        )
        assert "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20TOKEN" in problems[0]
        assert problems[1:] == [
            "problem token: the token is unknown, out of date or revoked "
            "-> correct or unset SPANTREE_TOKEN; `spantree token list` has those that are good"
        ]

    def test_a_service_is_looked_into_without_being_started(self, tmp_path: Path) -> None:
        (tmp_path / "job.py").write_text("raise SystemExit('must not be started')")
        done = spantree("doctor", "--", "python", "job.py", directory=tmp_path, env={"OTEL_SDK_DISABLED": "true"})
        assert done.returncode == 1
        assert "problem OTEL_SDK_DISABLED: true: no span is made at all -> unset it" in done.stdout.splitlines()
        assert "ok      service: python is run by " in done.stdout

    def test_whether_somebody_takes_a_services_spans_is_told(self, tmp_path: Path) -> None:
        asked = ["doctor", "--endpoint"]
        with socket.create_server(("127.0.0.1", 0)) as taken:
            nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = spantree(*asked, nowhere, "--", "python", "-V", directory=tmp_path)
        assert done.returncode == 1
        assert done.stdout.splitlines()[-3:] == [
            f"problem collector: nothing answers on {nowhere} -> run `spantree up`, or say by --endpoint where it runs",
            "",
            "1 problem",
        ]
        with up(tmp_path) as server:
            wrong = spantree(*asked, server.api_url, "--", "python", "-V", directory=tmp_path)
            right = spantree(*asked, server.otlp_url, "--", "python", "-V", directory=tmp_path)
        assert (wrong.returncode, right.returncode) == (1, 0)
        assert f"problem collector: {server.api_url} is answered by another program" in wrong.stdout
        assert right.stdout.splitlines()[-3:] == [
            f"ok      collector: spans go to {server.otlp_url}, which takes OTLP",
            "",
            "all is well",
        ]

    def test_starts_nothing_and_makes_nothing(self, tmp_path: Path) -> None:
        done = spantree("doctor", "--data", tmp_path / "none", directory=tmp_path)
        assert done.returncode == 1
        assert f"the embedded PostgreSQL in {tmp_path}/none has not been made yet" in done.stdout
        assert not (tmp_path / "none").exists()
