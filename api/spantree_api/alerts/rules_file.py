"""Rules of alerts out of a TOML file, for those who keep them with their code.

    [[rule]]
    name = "orders fail"
    kind = "failure"
    webhook_url = "https://hooks.example.com/alerts"
    secret = "signs-every-message"
    filter.workflow = "orders"

Their ids follow from their names, so that all processes that read the same file have the same rules.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID, uuid5

from pydantic import ValidationError

from spantree_api.answers.alerts import AlertRuleBody
from spantree_api.webhooks import WebhookRefused, checked_url
from spantree_exporter.errors import ConfigError

_NAMESPACE: Final = UUID("c2a3c1de-1d0f-5b41-8e52-6f8d5c0e7a11")


@dataclass(frozen=True, slots=True)
class FileRule:
    """One rule of the file."""

    id: UUID
    body: AlertRuleBody
    secret: str


def file_rules(path: Path, private_hosts: Collection[str]) -> Sequence[FileRule]:
    """The rules of the file. Raises ConfigError with every fault at once."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            [f"the rules of alerts {path} cannot be read: {error.strerror}; SPANTREE_API_ALERTS_FILE names them"]
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"the rules of alerts {path} are no TOML: {error}"]) from None
    given = document.get("rule", [])
    faults = [f"{name} in {path} is nothing of alerts: wanted [[rule]]" for name in document if name != "rule"]
    rules: list[FileRule] = []
    if not isinstance(given, list):
        raise ConfigError([*faults, f"rule in {path} is one table: wanted [[rule]], twice in brackets"])
    for number, one in enumerate(given, start=1):
        try:
            body = AlertRuleBody.model_validate(one)
            checked_url(body.webhook_url, private_hosts)
            if body.secret is None:
                raise WebhookRefused("a rule of a file needs a secret, for nobody could be told one that is made")
            rules.append(FileRule(uuid5(_NAMESPACE, body.name), body, body.secret))
        except ValidationError as error:
            faults += [
                f"rule {number} in {path}: {'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}"
                for fault in error.errors(include_input=False)
            ]
        except WebhookRefused as error:
            faults.append(f"rule {number} in {path}: {error}")
    twice = [name for name, count in Counter(rule.body.name for rule in rules).items() if count > 1]
    faults += [f"two rules in {path} are named {name!r}: rename one" for name in twice]
    if faults:
        raise ConfigError(faults)
    return rules
