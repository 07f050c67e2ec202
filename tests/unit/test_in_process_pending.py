"""What the in-process exporter remembers of traces that wait for their projection is bounded."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import pytest
from tests.factories import span, trace_id

from spantree_exporter.config import ExporterConfig
from spantree_exporter.errors import StoreUnavailable
from spantree_exporter.in_process import Complaints, InProcessWriter
from spantree_exporter.otlp.decode import DeadLetter
from spantree_exporter.postgres.store import Projected, Written
from spantree_exporter.readable import ReadSpans
from spantree_exporter.span import Span


class NeverProjecting:
    """A store that takes spans and projects nothing."""

    def write(self, spans: Sequence[Span], dead: Sequence[DeadLetter] = ()) -> Written:
        return Written(len(spans), 0, 0)

    def project_due(self, limit_spans: int = 0) -> Projected:
        raise StoreUnavailable("it is away")

    def still_pending(self, trace_ids: Collection[bytes]) -> set[bytes]:
        return set(trace_ids)

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> InProcessWriter:
    monkeypatch.setattr("spantree_exporter.in_process._MOST_PENDING", 50)
    monkeypatch.setattr("spantree_exporter.in_process.CLOSE_S", 0.0)
    config = ExporterConfig.from_env({"SPANTREE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere"})
    writer = InProcessWriter(config, Complaints())
    writer._store = NeverProjecting()  # type: ignore[assignment]
    return writer


def write(writer: InProcessWriter, *numbers: int) -> None:
    for number in numbers:
        writer.write(ReadSpans(spans=[span(trace=number)]), time.monotonic() + 10)


def test_the_oldest_are_left_to_whoever_projects_next(writer: InProcessWriter) -> None:
    write(writer, *range(1, 200), 150)
    assert len(writer._pending) == 50
    assert list(writer._pending)[-2:] == [trace_id(number) for number in (199, 150)]


def test_none_is_waited_for_longer_than_its_time(writer: InProcessWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spantree_exporter.in_process._PROJECT_FOR_S", -1.0)
    write(writer, 1, 2, 3)
    assert writer._pending == {}


class TakenMeanwhile(dict[bytes, float]):
    """Traces that another thread takes out as soon as somebody has seen that there are some."""

    def __len__(self) -> int:
        count = super().__len__()
        self.clear()
        return count


def test_the_last_that_was_waited_for_may_go_at_any_moment(writer: InProcessWriter) -> None:
    writer._pending = TakenMeanwhile({trace_id(1): time.monotonic() + 60})
    writer.close()
    assert writer._closing.is_set()
