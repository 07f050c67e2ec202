"""All that settings name is looked at before anything starts, and every fault is said at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from spantree_deploy.named_files import check_all
from spantree_deploy.settings import load
from spantree_exporter.errors import ConfigError


def test_what_settings_name_is_looked_at_at_once(tmp_path: Path) -> None:
    given = {
        "SPANTREE_RULES": "/nowhere/rules.toml",
        "SPANTREE_REDACT": "/nowhere/redact.toml",
        "SPANTREE_TLS_CERTIFICATE": "/nowhere/tls.crt",
        "SPANTREE_API_OIDC_ISSUER": "id.example",
        "SPANTREE_TRUSTED_PROXIES": "proxy",
        "SPANTREE_API_KNOWN_ERRORS": "/nowhere/errors.toml",
        "SPANTREE_API_ALERTS_FILE": "/nowhere/alerts.toml",
    }
    with pytest.raises(ConfigError) as raised:
        check_all(load({}, given, directory=tmp_path))
    named = ["/nowhere/rules.toml", "/nowhere/redact.toml", "/nowhere/tls.crt", "OIDC_ISSUER", "OIDC_CLIENT_ID"]
    named += ["SPANTREE_TRUSTED_PROXIES", "/nowhere/errors.toml", "/nowhere/alerts.toml"]
    assert len(raised.value.faults) == len(named), raised.value.faults
    for fault, name in zip(raised.value.faults, named, strict=True):
        assert name in fault


def test_the_defaults_name_nothing_that_could_be_missing(tmp_path: Path) -> None:
    check_all(load({}, {}, directory=tmp_path))
