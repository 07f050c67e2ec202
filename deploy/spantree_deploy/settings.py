"""Every setting of the command `spantree`: by flag, then `SPANTREE_*`, then `spantree.toml`, then the default.

One flat table: the field `otlp_http_port` is `--otlp-http-port` (or `--set otlp_http_port=...`),
`SPANTREE_OTLP_HTTP_PORT` and `otlp_http_port = 4318` in the file. docs/configuration.md lists them for readers.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from spantree_api.config import ApiConfig
from spantree_collector.config import CollectorConfig, size_of
from spantree_exporter.errors import ConfigError

PREFIX: Final = "SPANTREE_"
CONFIG_FILE: Final = "spantree.toml"
"""Looked for in the working directory unless --config names another."""

OTHERS: Final[Mapping[str, str]] = {
    "SPANTREE_CONFIG": "the file that settings are read from, as --config",
    "SPANTREE_LIVE": "1: the instrumented service announces running spans (set by `spantree run`)",
    "SPANTREE_LIVE_DELAY_S": "seconds a span must be open before it is announced",
    "SPANTREE_SCHEMA": "the in-process exporter: `require` the schema, or `create` it",
    "SPANTREE_EXPORT_TIMEOUT_S": "the in-process exporter: how long one batch is tried",
    "SPANTREE_PURE_PYTHON": "1: decoding and row bytes by Python although the compiled hot path is built",
    "SPANTREE_TEST_DATABASE_URL": "the PostgreSQL that the tests use; its user may create databases",
}
"""Names that begin like settings, are read elsewhere, and are therefore no mistakes."""

# What Kubernetes puts into every container for a Service named spantree or spantree-...: SPANTREE_API_PORT=tcp://10.0.0.7:80
# (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
_SERVICE_LINK: Final = re.compile(r"SPANTREE_(\w+_)?(SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP))(_\w+)?")
_SECRET: Final = frozenset({"database_url"})


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Where programs keep their data by the platform's convention.

    Linux and others: $XDG_DATA_HOME/spantree, else ~/.local/share/spantree (XDG Base Directory Specification 0.8);
    macOS: ~/Library/Application Support/spantree.
    """
    home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111  Path.home() raises where there is none
    if sys.platform == "darwin":
        return Path(home, "Library", "Application Support", "spantree")
    named = environ.get("XDG_DATA_HOME", "")
    # The specification: a relative path there is invalid and to be ignored.
    share = Path(named) if named.startswith("/") else Path(home, ".local", "share")
    return share / "spantree"


def _bytes_of(value: object) -> object:
    return size_of(value) if isinstance(value, str) else value


def _no_bool(value: object) -> object:
    # To pydantic `true` is the number 1.
    if isinstance(value, bool):
        raise ValueError("wanted a number, not true or false")
    return value


def _expanded(value: object) -> object:
    return os.path.expanduser(value) if isinstance(value, str) else value  # noqa: PTH111  takes str and stays quiet


Port = Annotated[int, BeforeValidator(_no_bool), Field(ge=0, le=65_535)]
Bytes = Annotated[int, BeforeValidator(_no_bool), BeforeValidator(_bytes_of), Field(ge=1)]
BytesOrNone = Annotated[int, BeforeValidator(_no_bool), BeforeValidator(_bytes_of), Field(ge=0)]
Seconds = Annotated[float, BeforeValidator(_no_bool), Field(gt=0, lt=1e9, allow_inf_nan=False)]
SecondsOrNone = Annotated[float, BeforeValidator(_no_bool), Field(ge=0, lt=1e9, allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=10**9)]
Location = Annotated[Path, BeforeValidator(_expanded)]


class Settings(BaseSettings):
    """The settings, checked whole. Made by `load`; sizes are bytes or have a unit, a port of 0 takes a free one."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, validate_default=False
    )

    # where the rows are
    database_url: str | None = Field(default=None, repr=False, min_length=1)
    data_dir: Location = Path("spantree-data")
    pg_bin: Location | None = None
    # what the spans mean
    rules: Location | None = None
    # where it listens
    host: str = Field(default="127.0.0.1", min_length=1)
    otlp_http_port: Port = 4318
    otlp_grpc_port: Port = 4317
    api_host: str | None = Field(default=None, min_length=1)
    api_allowed_hosts: str = ""
    api_port: Port = 8000
    # where commands find it
    otlp_endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s/]")
    api_url: str | None = Field(default=None, pattern=r"^https?://[^\s/]")
    # the collector; the defaults are CollectorConfig's, and a test holds them equal
    spool_max_bytes: Bytes = 8 * 2**30
    spool_reserve_bytes: BytesOrNone = 64 * 2**20
    max_body_bytes: Bytes = 64 * 2**20
    max_body_objects: Count = 1_000_000
    max_in_flight_bytes: Bytes = 256 * 2**20
    max_connections: Count = 1000
    header_deadline_s: Seconds = 10.0
    body_deadline_s: Seconds = 30.0
    idle_timeout_s: Seconds = 60.0
    writers: Annotated[int, BeforeValidator(_no_bool), Field(ge=0, le=64)] = 2
    writer_max_bytes: Bytes = 768 * 2**20
    writer_stall_s: Seconds = 20.0
    batch_spans: Count = 4096
    batch_bytes: Bytes = 16 * 2**20
    partition_days_back: Count = 90
    dead_letters_max: Annotated[int, BeforeValidator(_no_bool), Field(ge=0, le=10**9)] = 100_000
    dead_letters_max_bytes: BytesOrNone = 2**30
    drain_s: SecondsOrNone = 5.0
    # the API; the same with ApiConfig
    api_pool_max: Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=500)] = 8
    api_pool_wait_s: Seconds = 3.0
    api_statement_timeout_ms: Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=3_600_000)] = 15_000
    api_lost_after_s: Seconds = 3600.0
    api_stuck_pending_s: Seconds = 3600.0
    api_stuck_running_s: Seconds = 7200.0
    api_stuck_waiting_s: Seconds = 86_400.0

    @property
    def is_embedded(self) -> bool:
        """Whether PostgreSQL is spantree's own, in `data_dir`."""
        return self.database_url is None

    @property
    def otlp_url(self) -> str:
        """Where services send OTLP/HTTP, without /v1/traces."""
        return (self.otlp_endpoint or url_of(self.host, self.otlp_http_port)).rstrip("/")

    @property
    def api_listens_on(self) -> str:
        """The address that the API listens on."""
        return self.api_host or self.host

    @property
    def allowed_hosts(self) -> list[str]:
        """What else than this machine's own names the API on a loopback address answers to."""
        return [host for host in map(str.strip, self.api_allowed_hosts.split(",")) if host]

    def collector_config(self, database_url: str) -> CollectorConfig:
        """The collector's part of the settings. Raises ConfigError."""
        shared = {one.name: getattr(self, one.name) for one in fields(CollectorConfig) if one.name in _FIELDS}
        return CollectorConfig(**shared | {"database_url": database_url})

    def api_config(self, database_url: str) -> ApiConfig:
        """The API's part of the settings."""
        own = {name.removeprefix("api_"): getattr(self, name) for name in _API_FIELDS}
        return ApiConfig(host=self.api_listens_on, database_url=database_url, **own)


_FIELDS: Final = frozenset(Settings.model_fields)
_API_FIELDS: Final = tuple(
    name
    for name in Settings.model_fields
    if name.startswith("api_") and name not in ("api_host", "api_allowed_hosts", "api_url")
)


def url_of(host: str, port: int) -> str:
    """The URL by which this machine reaches a server that listens on `host`."""
    # An address that means "all of them" can be listened on, not connected to.
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def load(
    flags: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    config: Path | None = None,
    directory: Path | None = None,
) -> Settings:
    """The settings. Raises ConfigError with one sentence for each fault, all of them at once.

    Args:
        flags: by field name; None means that the flag was not given.
        environ: the process's environment.
        config: the TOML file of --config; it has to exist.
        directory: where `spantree.toml` is looked for otherwise; the working directory by default.
    """
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    known = {name: given.pop(name) for name in list(given) if name in Settings.model_fields}
    file, faults = _config_file(environ, config, directory or Path.cwd())
    faults += _unknown_variables(environ)
    faults += [f"--set {name} is no setting{_guess(name, Settings.model_fields)}" for name in given]
    try:
        settings = _layered(environ, file)(**known)
    except ValidationError as error:
        raise ConfigError(faults + [_fault(one, known, environ, file) for one in error.errors()]) from None
    try:
        settings.collector_config("")
    except ConfigError as error:
        faults += error.faults
    if settings.api_port and settings.api_port in (settings.otlp_http_port, settings.otlp_grpc_port):
        faults.append(f"SPANTREE_API_PORT is {settings.api_port}, as is a port of OTLP; give another port")
    if faults:
        raise ConfigError(faults)
    if "data_dir" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"data_dir": default_data_dir(environ)})


def _layered(environ: Mapping[str, str], file: Path | None) -> type[Settings]:
    """`Settings` that reads this environment and this file instead of the process's own."""

    class Environ(EnvSettingsSource):
        def _load_env_vars(self) -> Mapping[str, str | None]:
            # As pydantic-settings compares them: in lower case.
            # An empty one is as one that is not set: that is how a compose file passes on what it was not given.
            texts = {name.lower(): text.strip() for name, text in _ours(environ).items()}
            return {name: text for name, text in texts.items() if text}

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, Environ(settings_cls), TomlConfigSettingsSource(settings_cls, file)

    return Layered


def _config_file(environ: Mapping[str, str], config: Path | None, directory: Path) -> tuple[Path | None, list[str]]:
    """The file to read, None for none; what keeps it from being read."""
    named = config or (Path(environ["SPANTREE_CONFIG"]) if environ.get("SPANTREE_CONFIG") else None)
    file = named or directory / CONFIG_FILE
    try:
        tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, [] if named is None else [f"the file {named} does not exist; give another with --config"]
    except OSError as error:
        return None, [f"the file {file} cannot be read: {error.strerror}; give another with --config"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return None, [f"the file {file} is no TOML: {error}"]
    return file, []


def _ours(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that are meant for us."""
    return {
        name: text
        for name, text in environ.items()
        if name.startswith(PREFIX) and not _SERVICE_LINK.fullmatch(name) and not text.startswith(("tcp://", "udp://"))
    }


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    known = {variable(field) for field in Settings.model_fields} | set(OTHERS)
    return [f"{name} is no setting{_guess(name, known)}" for name in sorted(_ours(environ)) if name not in known]


def _guess(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; docs/configuration.md lists them"


def _fault(error: ErrorDetails, flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None) -> str:
    name = str(error["loc"][0]) if error["loc"] else "?"
    if error["type"] == "extra_forbidden":
        return f"{name} in {file} is no setting{_guess(name, Settings.model_fields)}"
    if name in flags:
        place = f"--{name.replace('_', '-')}"
    elif _ours(environ).get(variable(name), "").strip():
        place = variable(name)
    else:
        place = f"{name} in {file}"
    # A value that may hold a password is not repeated.
    found = "" if name in _SECRET else f' "{str(error["input"])[:80]}"'
    return f"{place} is{found or ' wrong'}: {_wanted(error)}"


def _wanted(error: ErrorDetails) -> str:
    context: dict[str, Any] = error.get("ctx") or {}
    match error["type"]:
        case "greater_than_equal":
            return f"wanted {context['ge']} or more"
        case "greater_than":
            return f"wanted more than {context['gt']:g}"
        case "less_than_equal":
            return f"wanted {context['le']} or less"
        case "less_than":
            return f"wanted less than {context['lt']:g}"
        case "int_parsing" | "int_type" | "int_from_float":
            return "wanted a whole number"
        case "float_parsing" | "float_type" | "finite_number":
            return "wanted a number"
        case "string_pattern_mismatch":
            return "wanted a URL such as http://127.0.0.1:4318"
        case "string_type":
            return "wanted a text"
        case "string_too_short":
            return "wanted a value"
        case "value_error":
            return str(context["error"])
        case _:
            return error["msg"]
