"""Settings of the command: flag before environment before file before default; every fault named, all at once."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from spantree_api.config import ApiConfig
from spantree_collector.config import CollectorConfig
from spantree_deploy.settings import Settings, default_data_dir, load, url_of
from spantree_exporter.errors import ConfigError
from spantree_exporter.postgres.partitions import DEFAULT_DAYS_BACK

HOME = {"HOME": "/home/ada"}


def loaded(
    flags: dict[str, object],
    environ: dict[str, str],
    directory: Path,
    toml: str = "",
    pairs: dict[str, str] | None = None,
) -> Settings:
    if toml:
        (directory / "spantree.toml").write_text(toml)
    return load(flags, HOME | environ, pairs=pairs, directory=directory)


def faults(
    flags: dict[str, object],
    environ: dict[str, str],
    directory: Path,
    toml: str = "",
    pairs: dict[str, str] | None = None,
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(flags, environ, directory, toml, pairs)
    return caught.value.faults


class TestOrder:
    def test_each_source_is_overridden_by_the_one_before_it(self, tmp_path: Path) -> None:
        toml = "api_port = 1\notlp_http_port = 2\notlp_grpc_port = 3\n"
        environ = {"SPANTREE_OTLP_HTTP_PORT": "22", "SPANTREE_OTLP_GRPC_PORT": "33"}
        settings = loaded({"otlp_grpc_port": "333"}, environ, tmp_path, toml)
        assert (settings.api_port, settings.otlp_http_port, settings.otlp_grpc_port) == (1, 22, 333)
        assert settings.host == "127.0.0.1"

    def test_a_flag_that_is_not_given_changes_nothing(self, tmp_path: Path) -> None:
        assert loaded({"api_port": None}, {"SPANTREE_API_PORT": "9"}, tmp_path).api_port == 9

    def test_an_empty_variable_is_as_one_that_is_not_set(self, tmp_path: Path) -> None:
        settings = loaded({}, {"SPANTREE_API_PORT": "", "SPANTREE_DATABASE_URL": "  "}, tmp_path)
        assert (settings.api_port, settings.database_url, settings.is_embedded) == (8000, None, True)

    def test_the_file_of_config_is_read_instead_of_the_one_in_the_directory(self, tmp_path: Path) -> None:
        (tmp_path / "spantree.toml").write_text("api_port = 1")
        other = tmp_path / "other.toml"
        other.write_text("api_port = 2")
        assert load({}, HOME, config=other, directory=tmp_path).api_port == 2
        assert load({}, HOME | {"SPANTREE_CONFIG": str(other)}, directory=tmp_path).api_port == 2


class TestFaults:
    def test_all_of_them_are_listed_at_once_each_naming_where_it_stands(self, tmp_path: Path) -> None:
        toml = "batch_spans = true\napi_prot = 3\nhost = 3\n"
        environ = {"SPANTREE_DRAIN_S": "soon", "SPANTREE_MAX_CONECTIONS": "3", "SPANTREE_SPOOL_MAX_BYTES": "3 potatoes"}
        assert sorted(
            faults(
                {
                    "api_port": "99999",
                },
                environ,
                tmp_path,
                toml,
                {"colour": "red"},
            )
        ) == sorted(
            [
                "SPANTREE_MAX_CONECTIONS is no setting; did you mean SPANTREE_MAX_CONNECTIONS?",
                "--set colour is no setting; docs/configuration.md lists them",
                '--api-port is "99999": wanted 65535 or less',
                'SPANTREE_DRAIN_S is "soon": wanted a number',
                'SPANTREE_SPOOL_MAX_BYTES is "3 potatoes": '
                'give bytes, or a number with a unit such as "512MiB" or "8GiB"',
                f'batch_spans in {tmp_path}/spantree.toml is "True": wanted a number, not true or false',
                f"api_prot in {tmp_path}/spantree.toml is no setting; did you mean api_port?",
                f'host in {tmp_path}/spantree.toml is "3": wanted a text',
            ]
        )

    def test_a_variable_given_as_a_field_is_told_the_field(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as raised:
            load({}, {}, pairs={"SPANTREE_API_JAEGER_PORT": "-1"}, directory=tmp_path)
        assert raised.value.faults == ["--set SPANTREE_API_JAEGER_PORT is no setting; did you mean api_jaeger_port?"]

    def test_a_password_is_never_repeated(self, tmp_path: Path) -> None:
        found = faults({}, {}, tmp_path, 'database_url = ["postgresql://ada:secret@db/x"]')
        assert found == [f"database_url in {tmp_path}/spantree.toml is wrong: wanted a text"]
        settings = loaded({"database_url": "postgresql://ada:secret@db/x"}, {}, tmp_path, "api_port = 1")
        assert "secret" not in repr(settings)
        assert faults({"otlp_endpoint": "ftp://ada:secret@h"}, {}, tmp_path) == [
            '--endpoint is "ftp://ada:***@h": wanted a URL such as http://127.0.0.1:4318'
        ]

    @pytest.mark.parametrize("url", ["http://[::1", "http://[x]:1", "http://a]b"])
    def test_a_url_whose_brackets_are_none_is_refused(self, url: str, tmp_path: Path) -> None:
        assert faults({"api_url": url}, {}, tmp_path) == [
            f'--api-url is "{url}": wanted a URL such as http://127.0.0.1:8000'
        ]

    def test_what_goes_to_a_list_of_hosts_or_urls_is_looked_at(self, tmp_path: Path) -> None:
        given = {
            "SPANTREE_API_ALLOWED_HOSTS": "https://a.example",
            "SPANTREE_API_ALERT_PRIVATE_HOSTS": "hooks.internal, http://b",
            "SPANTREE_API_COLLECTOR_URLS": "http://c:4318,c",
        }
        names = "wanted names of hosts with commas between, such as spantree.example, without http://"
        assert faults({}, given, tmp_path) == [
            f'SPANTREE_API_ALLOWED_HOSTS is "https://a.example": {names}',
            f'SPANTREE_API_ALERT_PRIVATE_HOSTS is "hooks.internal, http://b": {names}',
            'SPANTREE_API_COLLECTOR_URLS is "http://c:4318,c": wanted URLs with commas between, such as '
            "http://collector-0:4318",
        ]

    @pytest.mark.parametrize("given", ["http://h:4318", "http://h:4318/", "http://h:4318/v1/traces"])
    def test_the_address_of_otlp_is_taken_with_its_path_or_without(self, given: str, tmp_path: Path) -> None:
        assert loaded({"otlp_endpoint": given}, {}, tmp_path).otlp_url == "http://h:4318"

    @pytest.mark.parametrize("given", ["spt_1_x\n", " spt_1_x\r\n"])
    def test_the_end_of_a_line_is_no_part_of_a_token(self, given: str, tmp_path: Path) -> None:
        assert loaded({}, {"SPANTREE_TOKEN": given}, tmp_path).token == "spt_1_x"

    @pytest.mark.parametrize("given", ["spt_1\nx", "spt 1", "spt_é", "spt_\udcff"])
    def test_what_can_be_no_token_is_refused_and_not_repeated(self, given: str, tmp_path: Path) -> None:
        assert faults({}, {"SPANTREE_TOKEN": given}, tmp_path) == [
            "SPANTREE_TOKEN is wrong: wanted a token, one word as `spantree token create` prints it"
        ]

    @pytest.mark.parametrize(
        ("url", "began"),
        [
            ("mysql://ada:secret@db/x", "begins with mysql://"),
            ("postgresql+psycopg://ada:secret@db/x", "begins with postgresql+psycopg://"),
            ("ada:secret@db/x", "is neither a URL nor keyword=value pairs"),
            ("https://ada:secret@db/x?a=b", "begins with https://"),
        ],
    )
    def test_a_url_that_is_no_postgresqls_is_refused_without_its_password(
        self, url: str, began: str, tmp_path: Path
    ) -> None:
        assert faults({}, {"SPANTREE_DATABASE_URL": url}, tmp_path) == [
            f"SPANTREE_DATABASE_URL is wrong: it {began}; "
            "wanted postgresql://user@host/database, or libpq's host=... dbname=..."
        ]

    @pytest.mark.parametrize("password", ["se cret", "sec/ret", "sec:ret/", "sec@/ret", "se\tcret"])
    def test_a_password_that_libpq_would_misread_is_refused_without_it(self, password: str, tmp_path: Path) -> None:
        (found,) = faults({"database_url": f"postgresql://ada:{password}@db:5432/x"}, {}, tmp_path)
        assert found.startswith("--database-url is wrong: it cannot be read as postgresql://user:password@host:port/")
        assert "ret" not in found

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://",
            "postgres://db",
            "host=/tmp dbname=x",
            "service = mine",
            "postgresql:///x?host=/tmp&user=a@b",
            "postgresql://ada:p%20w@[::1]:5432,db:5433/x?sslmode=require",
            "postgresql://ada@db/x",
            "postgresql://postgres@/spantree?host=/data/pgdata&port=5432",
        ],
    )
    def test_what_libpq_takes_is_taken(self, url: str, tmp_path: Path) -> None:
        assert loaded({"database_url": url}, {}, tmp_path).database_url == url

    def test_a_fault_names_what_was_really_given(self, tmp_path: Path) -> None:
        pairs = {"api_pool_max": "none", "batch_spans": "0"}
        assert faults({}, {}, tmp_path, "", pairs) == [
            '--set batch_spans is "0": wanted 1 or more',
            '--set api_pool_max is "none": wanted a whole number',
        ]

    def test_names_that_other_parts_read_are_no_mistakes(self, tmp_path: Path) -> None:
        environ = {"SPANTREE_LIVE": "1", "SPANTREE_LIVE_DELAY_S": "1", "SPANTREE_TEST_DATABASE_URL": "x", "PGHOST": "x"}
        assert loaded({}, environ, tmp_path).api_port == 8000

    def test_what_kubernetes_says_of_a_service_of_that_name_is_no_setting(self, tmp_path: Path) -> None:
        links = {
            "SPANTREE_SERVICE_HOST": "10.0.0.7",
            "SPANTREE_SERVICE_PORT": "80",
            "SPANTREE_SERVICE_PORT_HTTP": "80",
            "SPANTREE_PORT": "tcp://10.0.0.7:80",
            "SPANTREE_PORT_80_TCP_ADDR": "10.0.0.7",
            "SPANTREE_API_PORT": "tcp://10.0.0.7:80",
            "SPANTREE_API_SERVICE_HOST": "10.0.0.7",
            "SPANTREE_API_PORT_80_TCP": "tcp://10.0.0.7:80",
        }
        assert loaded({}, links, tmp_path) == loaded({}, {}, tmp_path)

    def test_one_port_cannot_be_two_things(self, tmp_path: Path) -> None:
        assert faults({"api_port": 5000, "otlp_http_port": 5000, "otlp_grpc_port": 5000}, {}, tmp_path) == [
            "SPANTREE_OTLP_HTTP_PORT and SPANTREE_OTLP_GRPC_PORT are both 5000; give two ports",
            "SPANTREE_API_PORT is 5000, as is a port of OTLP; give another port",
        ]
        assert loaded({"api_port": 0, "otlp_http_port": 0, "otlp_grpc_port": 0}, {}, tmp_path).api_port == 0

    def test_a_file_that_was_named_has_to_be_there_and_to_be_toml(self, tmp_path: Path) -> None:
        missing = tmp_path / "nowhere.toml"
        with pytest.raises(ConfigError) as caught:
            load({}, HOME, config=missing)
        assert caught.value.faults == [f"the file {missing} does not exist; give another with --config"]
        (found,) = faults({}, {}, tmp_path, "api_port = = 3")
        assert found.startswith(f"the file {tmp_path}/spantree.toml is no TOML: ")


class TestPlaces:
    @pytest.mark.parametrize(
        ("environ", "place"),
        [
            (HOME, "/home/ada/.local/share/spantree"),
            (HOME | {"XDG_DATA_HOME": "/srv/ada"}, "/srv/ada/spantree"),
            (HOME | {"XDG_DATA_HOME": "relative/is/invalid"}, "/home/ada/.local/share/spantree"),
        ],
    )
    def test_data_lies_where_the_platform_says(
        self, environ: dict[str, str], place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.platform", "linux")
        assert default_data_dir(environ) == Path(place)

    def test_on_macos_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.platform", "darwin")
        assert default_data_dir(HOME) == Path("/home/ada/Library/Application Support/spantree")

    @pytest.mark.parametrize(
        ("host", "url"),
        [
            ("127.0.0.1", "http://127.0.0.1:4318"),
            ("0.0.0.0", "http://127.0.0.1:4318"),
            ("::", "http://[::1]:4318"),
            ("::1", "http://[::1]:4318"),
            ("spans.example", "http://spans.example:4318"),
        ],
    )
    def test_a_url_leads_to_where_a_server_listens(self, host: str, url: str) -> None:
        assert url_of(host, 4318) == url

    def test_spans_go_where_the_collector_listens_unless_another_is_named(self, tmp_path: Path) -> None:
        settings = loaded({"host": "0.0.0.0", "otlp_http_port": 14318}, {}, tmp_path)
        assert settings.otlp_url == "http://127.0.0.1:14318"
        elsewhere = loaded({"otlp_endpoint": "https://spans.example/"}, {}, tmp_path)
        assert elsewhere.otlp_url == "https://spans.example"


class TestParts:
    def test_have_the_defaults_that_their_own_settings_have(self) -> None:
        def defaults(config: type[Any]) -> dict[str, Any]:
            found = {one.name: one.default for one in fields(config) if one.default is not MISSING}
            for not_a_default_of_the_command in ("data_dir", "database_url", "tenant_id"):
                found.pop(not_a_default_of_the_command, None)
            return found

        # tests/conftest.py gives the tests another default of this one.
        settings = Settings(partition_days_back=DEFAULT_DAYS_BACK)
        collector, api = settings.collector_config("url"), settings.api_config("url")
        assert {name: getattr(collector, name) for name in defaults(CollectorConfig)} == defaults(CollectorConfig)
        assert {name: getattr(api, name) for name in defaults(ApiConfig)} == defaults(ApiConfig)

    def test_get_what_was_set(self, tmp_path: Path) -> None:
        environ = {
            "SPANTREE_HOST": "0.0.0.0",
            "SPANTREE_API_HOST": "127.0.0.1",
            "SPANTREE_API_POOL_WAIT_S": "1.5",
            "SPANTREE_SPOOL_MAX_BYTES": "1GiB",
            "SPANTREE_DATA_DIR": str(tmp_path),
        }
        settings = loaded({}, environ, tmp_path)
        collector, api = settings.collector_config("url"), settings.api_config("url")
        assert (collector.host, collector.spool_max_bytes, collector.data_dir) == ("0.0.0.0", 2**30, tmp_path)
        assert (api.host, api.port, api.pool_wait_s, api.database_url) == ("127.0.0.1", 8000, 1.5, "url")

    def test_every_setting_of_the_api_is_reachable(self) -> None:
        reached = {name.removeprefix("api_") for name in Settings.__annotations__ if name.startswith("api_")}
        assert {one.name for one in fields(ApiConfig)} - {
            "database_url",
            "read_database_url",
            "tenant_id",
            "jaeger_url",
            "grafana_url",
            "insecure",
            "trusted_proxies",
            "token_interval_s",
            "audit_flush_s",
        } <= reached
