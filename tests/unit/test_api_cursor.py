"""Cursors come back as they went out, and nothing else is taken for one."""

from __future__ import annotations

import string
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spantree_api.cursor import ExecutionCursor, SequenceCursor
from spantree_api.errors import InvalidParameter

BIGINTS = st.integers(-(2**63), 2**63 - 1)


@given(BIGINTS, st.uuids())
def test_a_position_survives(started_ns: int, trace_id: UUID) -> None:
    cursor = ExecutionCursor(started_ns, trace_id)
    assert ExecutionCursor.decode(cursor.encode()) == cursor
    assert set(cursor.encode()) <= set(string.ascii_letters + string.digits + "-_")


@given(BIGINTS)
def test_a_sequence_survives_and_is_no_execution(sequence: int) -> None:
    cursor = SequenceCursor(sequence)
    assert SequenceCursor.decode(cursor.encode()) == cursor
    with pytest.raises(InvalidParameter, match="is no cursor of this list"):
        ExecutionCursor.decode(cursor.encode())


@given(st.text(max_size=60))
def test_any_other_text_is_refused(text: str) -> None:
    for kind in (ExecutionCursor, SequenceCursor):
        with pytest.raises(InvalidParameter):
            kind.decode(text)


@given(BIGINTS, st.uuids(), st.integers(0, 38), st.sampled_from("Aa0-_"))
def test_one_wrong_character_is_noticed(started_ns: int, trace_id: UUID, position: int, wrong: str) -> None:
    text = ExecutionCursor(started_ns, trace_id).encode()
    changed = text[:position] + wrong + text[position + 1 :]
    if changed != text:
        with pytest.raises(InvalidParameter):
            ExecutionCursor.decode(changed)
