"""What settings name (rules, certificates, alerts, providers), looked at before anything starts.

The parts read the same when they start, one after the other, and by then a PostgreSQL runs for nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from spantree_api.alerts.rules_file import file_rules
from spantree_api.failures.known_errors_file import load_known_errors
from spantree_api.people.settings import people_settings
from spantree_deploy.settings import Settings
from spantree_exporter.errors import ConfigError
from spantree_exporter.redaction import redactor_of
from spantree_exporter.rules import facts_reader
from spantree_exporter.tls.certificate import ServerTls, TlsFiles


def check_all(settings: Settings) -> None:
    """Raises ConfigError with every fault of what collector and API will read, all at once."""
    config = settings.api_config("")
    checks: list[Callable[[], object]] = [
        lambda: facts_reader(settings.rules),
        lambda: redactor_of(settings.redact, settings.redact_hash_key),
        lambda: _can_be_used(settings.collector_config("").tls_files),
        lambda: _can_be_used(config.tls_files),
        lambda: people_settings(config),
        lambda: load_known_errors(config.known_errors),
        lambda: file_rules(config.alerts_file, config.private_hosts) if config.alerts_file else None,
    ]
    faults: dict[str, None] = {}
    for check in checks:
        try:
            check()
        except ConfigError as error:
            faults |= dict.fromkeys(error.faults)
    if faults:
        raise ConfigError(list(faults))


def _can_be_used(files: TlsFiles | None) -> None:
    if files is not None:
        ServerTls(files)
