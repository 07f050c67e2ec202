"""A short form of `python -m tests.chaos.hostile_inputs`: bounds on memory and counts, none on time."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.chaos.hostile_inputs import run
from tests.tables import query

# What each is answered by: refused before it costs anything, or taken and then bounded.
_INPUTS = {
    "empty_spans": "413",
    "empty_events": "413",
    "empty_log_records": "413",
    "events_after_group": "413",
    "gzip_members": "400",
    "nested_json": "413",
    "json_keys": "413",
    "quotes_in_json": "400",
    "large_json": "200",
    "command_message": "200",
    "refused_spans": "200",
    "half_sent_http": "24 connections",
    "half_sent_grpc": "",
}
_DEAD_LETTERS_OF_A_BODY = 1_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_hostile_inputs_cost_well_behaved_clients_no_refusal_and_no_process_its_memory(
    tmp_path: Path, migrated_url: str
) -> None:
    suffered = run(tmp_path, migrated_url, list(_INPUTS), 0.0)
    assert [one.name for one in suffered if not one.answer.startswith(_INPUTS[one.name])] == [], [
        one.answer for one in suffered
    ]
    assert [sentence for one in suffered for sentence in one.harm()] == []
    assert query(migrated_url, "SELECT count(*) FROM spantree.dead_letter") == [(_DEAD_LETTERS_OF_A_BODY,)]
