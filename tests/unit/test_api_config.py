"""The API's part of the settings: each is read from its variable."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

import spantree_api.config
from spantree_api.config import ApiConfig
from spantree_deploy.settings import Settings, load
from spantree_exporter.errors import ConfigError
from spantree_exporter.setting_fields import variable

# Where it is found, and by which names, is told to commands and to what stands before it.
_ELSEWHERE = {"api_url", "api_allowed_hosts"}
OWN = {variable(one.name) for one in fields(Settings) if one.name.startswith("api_") and one.name not in _ELSEWHERE}


def api_config(environ: dict[str, str]) -> ApiConfig:
    settings = load({}, {"HOME": "/home/ada"} | environ)
    return settings.api_config(settings.database_url or "")


def test_defaults_hold_where_nothing_is_said() -> None:
    assert api_config({"PATH": "/bin"}) == ApiConfig()


def test_every_setting_is_read() -> None:
    environ = {
        "SPANTREE_DATABASE_URL": "postgresql://u:secret@h/db",
        "SPANTREE_API_DATABASE_URL": "postgresql://u:secret@standby/db",
        "SPANTREE_API_HOST": "0.0.0.0",
        "SPANTREE_API_PORT": "0",
        "SPANTREE_API_JAEGER_PORT": "-1",
        "SPANTREE_API_TLS_CERTIFICATE": "/etc/tls.crt",
        "SPANTREE_API_TLS_KEY": "/etc/tls.key",
        "SPANTREE_API_TLS_CLIENT_CA": "/etc/ca.crt",
        "SPANTREE_API_PUBLIC_URL": "https://a.example",
        "SPANTREE_API_OIDC_ISSUER": "https://id.example",
        "SPANTREE_API_OIDC_CLIENT_ID": "c",
        "SPANTREE_API_OIDC_CLIENT_SECRET": "s",
        "SPANTREE_API_OIDC_SCOPES": "openid",
        "SPANTREE_API_OIDC_ROLES_CLAIM": "roles",
        "SPANTREE_API_OIDC_AUDIENCE": "api",
        "SPANTREE_API_ROLES": "a=b:read",
        "SPANTREE_API_SESSION_S": "60",
        "SPANTREE_API_SESSION_KEY": "k",
        "SPANTREE_TRUSTED_PROXIES": "10.0.0.1",
        "SPANTREE_API_PROXY_USER_HEADER": "x-user",
        "SPANTREE_API_PROXY_ROLES_HEADER": "x-roles",
        "SPANTREE_API_CORS_ORIGINS": "*",
        "SPANTREE_API_POOL_MAX": "3",
        "SPANTREE_API_POOL_WAIT_S": "1.5",
        "SPANTREE_API_STATEMENT_TIMEOUT_MS": "250",
        "SPANTREE_API_LOST_AFTER_S": "60",
        "SPANTREE_API_STUCK_PENDING_S": "1",
        "SPANTREE_API_STUCK_RUNNING_S": "2",
        "SPANTREE_API_STUCK_WAITING_S": "3",
        "SPANTREE_API_STREAMS_MAX": "4",
        "SPANTREE_API_KNOWN_ERRORS": "/etc/known.toml",
        "SPANTREE_API_ANALYSIS_MODEL": "openai:m",
        "SPANTREE_API_ANALYSIS_TIMEOUT_S": "9",
        "SPANTREE_API_ANALYSIS_MAX_CHARS": "5000",
        "SPANTREE_API_ALERTS_FILE": "/etc/alerts.toml",
        "SPANTREE_API_ALERT_PRIVATE_HOSTS": "Hooks.internal, 10.0.0.5",
        "SPANTREE_API_COLLECTOR_URLS": "http://a:4318, http://b:4318,",
        "SPANTREE_API_AUDIT": "all",
    }
    config = api_config(environ)
    assert config == ApiConfig(
        host="0.0.0.0",
        port=0,
        jaeger_port=-1,
        tls_certificate=Path("/etc/tls.crt"),
        tls_key=Path("/etc/tls.key"),
        tls_client_ca=Path("/etc/ca.crt"),
        database_url="postgresql://u:secret@h/db",
        read_database_url="postgresql://u:secret@standby/db",
        public_url="https://a.example",
        oidc_issuer="https://id.example",
        oidc_client_id="c",
        oidc_client_secret="s",
        oidc_scopes="openid",
        oidc_roles_claim="roles",
        oidc_audience="api",
        roles="a=b:read",
        session_s=60.0,
        session_key="k",
        trusted_proxies="10.0.0.1",
        proxy_user_header="x-user",
        proxy_roles_header="x-roles",
        cors_origins="*",
        pool_max=3,
        pool_wait_s=1.5,
        statement_timeout_ms=250,
        lost_after_s=60.0,
        stuck_pending_s=1.0,
        stuck_running_s=2.0,
        stuck_waiting_s=3.0,
        streams_max=4,
        known_errors=Path("/etc/known.toml"),
        analysis_model="openai:m",
        analysis_timeout_s=9.0,
        analysis_max_chars=5_000,
        alerts_file=Path("/etc/alerts.toml"),
        alert_private_hosts="Hooks.internal, 10.0.0.5",
        collector_urls="http://a:4318, http://b:4318,",
        audit="all",
    )
    assert config.collector_addresses == ["http://a:4318", "http://b:4318"]
    assert config.private_hosts == {"hooks.internal", "10.0.0.5"}
    assert "secret" not in repr(config)
    assert set(environ) == OWN | {"SPANTREE_DATABASE_URL", "SPANTREE_TRUSTED_PROXIES"}


@pytest.mark.parametrize("text", ["x", "nan", "inf", "0", "-3", "1e10"])
def test_seconds_are_positive_and_finite(text: str) -> None:
    with pytest.raises(ConfigError):
        api_config({"SPANTREE_API_LOST_AFTER_S": text})


def test_every_setting_is_documented() -> None:
    module = spantree_api.config.__doc__ or ""
    for name in ["SPANTREE_DATABASE_URL", *OWN]:
        assert f"`{name}`" in module, f"{name} is missing in the docstring of spantree_api.config"
