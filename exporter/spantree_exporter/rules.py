"""Reads a team's own rules (facts/custom.py) from the file that SPANTREE_RULES names."""

from __future__ import annotations

import tomllib
from pathlib import Path

from spantree_exporter.errors import ConfigError
from spantree_exporter.facts import CONVENTIONS, FactsReader, read_facts
from spantree_exporter.facts.conventions import probes
from spantree_exporter.facts.custom import Rules


def facts_reader(rules_path: Path | None) -> FactsReader:
    """The reader that applies the rules in the file, or the one without any for None.

    Raises ConfigError where the file cannot be read, is no TOML or holds an unknown field; all faults at once.
    """
    if rules_path is None:
        return read_facts
    try:
        document = tomllib.loads(rules_path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            [f"the rules {rules_path} cannot be read: {error.strerror}; SPANTREE_RULES names them"]
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"the rules {rules_path} are no TOML: {error}"]) from None
    rules = Rules.from_document(document)
    known = CONVENTIONS
    if rules.hidden_paths is not None:
        known = tuple(probes.probes(rules.hidden_paths) if one is probes.CONVENTION else one for one in CONVENTIONS)
    return FactsReader((rules.convention(), *known), prices=rules.prices)
