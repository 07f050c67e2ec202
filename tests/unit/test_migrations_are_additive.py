"""A migration may only add: the release before writes and reads while it runs and after it has."""

from __future__ import annotations

import re

import pytest

from spantree_exporter.sql import Script, scripts

# What each may not do to a table that it has not made itself. Builds that do not know a column leave it out.
_FORBIDDEN = {
    "takes away": r"\bDROP\s+(?!INDEX\b|EXPRESSION\b)\w+",
    "renames": r"\bRENAME\b",
    "changes a type": r"\bALTER\s+COLUMN\s+\w+\s+(SET\s+DATA\s+)?TYPE\b",
    "wants a value": r"\bSET\s+NOT\s+NULL\b|\bADD\s+COLUMN\s+(?=[^,;]*\bNOT\s+NULL\b)(?![^,;]*\bDEFAULT\b)\w+",
    "forbids rows": r"\bADD\s+(?:CONSTRAINT|CHECK|UNIQUE|PRIMARY|FOREIGN|EXCLUDE)\b",
    "rewrites the table": r"\bADD\s+COLUMN\b[^,;]*\bDEFAULT\s+(?:gen_random_uuid|clock_timestamp|random)\b",
    "takes rows away": r"\b(?:TRUNCATE|DELETE\s+FROM)\b",
}
# Constraints that are made anew to allow more than before: the release before goes on to write what they allowed.
_WIDENED = {"0026_add_calls_between_services.sql": "rollup_subject_check"}
# Before there was a release to go on beside them.
_BEFORE_THE_RULE = 7


def faults(script: Script) -> list[str]:
    """What a build that does not know this migration could not live with, each as a clause."""
    if re.match(r"\d+_contract_", script.name):
        return []
    text = re.sub(r"'(?:[^']|'')*'", "''", re.sub(r"--[^\n]*", "", script.text))
    own = set(re.findall(r"\bCREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?([\w.]+)", text, re.IGNORECASE))
    found = []
    for statement in text.split(";"):
        if (wider := _WIDENED.get(script.name)) is not None:
            statement = re.sub(rf"\b(DROP|ADD)\s+CONSTRAINT\s+{wider}\b", "", statement)
        of = re.search(r"\b(?:ALTER\s+TABLE|TRUNCATE|DELETE\s+FROM)\s+(?:ONLY\s+)?([\w.]+)", statement, re.IGNORECASE)
        if of is not None and of[1] in own:
            continue
        unique = re.search(r"\bCREATE\s+UNIQUE\s+INDEX\b.*?\bON\s+([\w.]+)", statement, re.IGNORECASE | re.DOTALL)
        if unique is not None and unique[1] not in own:
            found.append(f"{script.name} forbids rows: {' '.join(statement.split())}")
        found += [
            f"{script.name} {what}: {' '.join(statement.split())}"
            for what, pattern in _FORBIDDEN.items()
            if re.search(pattern, statement, re.IGNORECASE)
        ]
    return found


def test_every_migration_only_adds() -> None:
    later = [script for script in scripts("migrations") if script.version > _BEFORE_THE_RULE]
    assert len(later) > 5
    found = [fault for script in later for fault in faults(script)]
    assert found == [], (
        "a rolling upgrade runs the release before beside this schema (docs/scale.md, Migrations only add): add now, "
        "and take away in a later release's NNNN_contract_....sql"
    )


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("ALTER TABLE spantree.node DROP COLUMN model", "takes away"),
        ("DROP TABLE spantree.edge", "takes away"),
        ("ALTER TABLE spantree.node RENAME COLUMN model TO llm", "renames"),
        ("ALTER TABLE spantree.node ALTER COLUMN attempt TYPE bigint", "changes a type"),
        ("ALTER TABLE spantree.node ADD COLUMN a integer NOT NULL", "wants a value"),
        ("ALTER TABLE spantree.node ALTER COLUMN model SET NOT NULL", "wants a value"),
        ("ALTER TABLE spantree.node ADD CONSTRAINT node_check CHECK (attempt > 0)", "forbids rows"),
        ("CREATE UNIQUE INDEX node_name_idx ON spantree.node (tenant_id, name)", "forbids rows"),
        ("ALTER TABLE spantree.node ADD COLUMN id uuid DEFAULT gen_random_uuid()", "rewrites the table"),
        ("DELETE FROM spantree.node WHERE name = 'x'", "takes rows away"),
    ],
)
def test_what_the_release_before_could_not_live_with_is_found(statement: str, what: str) -> None:
    (fault,) = faults(Script("0099_try.sql", f"-- why\n{statement};\n", ""))
    assert fault.startswith(f"0099_try.sql {what}: ")
    assert faults(Script("0099_contract_node.sql", statement, "")) == []


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE spantree.node ADD COLUMN a integer",
        "ALTER TABLE spantree.node ADD COLUMN a integer NOT NULL DEFAULT 0",
        "CREATE INDEX node_a_idx ON spantree.node (tenant_id, name)",
        "CREATE TABLE spantree.own (a integer); ALTER TABLE spantree.own ADD CONSTRAINT own_pkey PRIMARY KEY (a)",
        "COMMENT ON COLUMN spantree.node.name IS 'DROP TABLE; RENAME'",
    ],
)
def test_what_adds_is_let_pass(statement: str) -> None:
    assert faults(Script("0099_try.sql", statement, "")) == []
