"""What `spantree run` makes of a Python process, where its environment cannot do it."""

from __future__ import annotations

import logging
import os
import runpy
import sys
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation import auto_instrumentation

import spantree_exporter
from spantree_exporter.run import autorun


@pytest.fixture
def no_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment with the SDK and nothing that sets it up."""
    monkeypatch.setattr(auto_instrumentation, "initialize", lambda: None)
    monkeypatch.setattr(trace, "get_tracer_provider", trace.ProxyTracerProvider)


@pytest.mark.usefixtures("no_distribution")
def test_what_sets_up_the_sdk_is_said_to_be_missing() -> None:
    with pytest.raises(ImportError) as caught:
        autorun.start([sys.executable, "nightly.py"], is_main=True, environ={})
    assert str(caught.value) == (
        f"nothing sets up the SDK: {sys.executable} -m pip install "
        "opentelemetry-distro opentelemetry-exporter-otlp-proto-http"
    )


@pytest.mark.usefixtures("no_distribution")
def test_an_sdk_that_is_switched_off_lacks_nothing() -> None:
    autorun.start([sys.executable, "nightly.py"], is_main=True, environ={"OTEL_SDK_DISABLED": "True"})


@pytest.mark.usefixtures("no_distribution")
@pytest.mark.parametrize(("is_main", "said"), [(True, ["sqlalchemy is too new"]), (False, [])])
def test_what_cannot_be_instrumented_is_said_by_the_program_and_not_by_each_of_its_workers(
    is_main: bool, said: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loader = logging.getLogger("opentelemetry.instrumentation.auto_instrumentation._load")
    monkeypatch.setattr(auto_instrumentation, "initialize", lambda: loader.error("sqlalchemy is too new"))
    autorun.start([sys.executable, "nightly.py"], is_main=is_main, environ={"OTEL_SDK_DISABLED": "true"})
    loader.error("later")
    assert caplog.messages == [*said, "later"]


@pytest.mark.parametrize(
    ("arguments", "prefix", "kind"),
    [
        ("-m ipykernel_launcher -f kernel.json", sys.prefix, "worker"),
        ("-m ipykernel_launcher -f kernel.json", "/opt/other", None),
        (
            "-c from multiprocessing.spawn import spawn_main; spawn_main() --multiprocessing-fork",
            "/opt/other",
            "worker",
        ),
        ("-m jupyter lab", "/opt/other", "main"),
        ("other.py", sys.prefix, None),
    ],
)
def test_which_processes_of_a_program_are_part_of_it(arguments: str, prefix: str, kind: str | None) -> None:
    site = runpy.run_path(str(Path(spantree_exporter.__file__).parent / "run_site" / "sitecustomize.py"))
    started = [os.getppid(), ["-m", "jupyter", "lab"], prefix]
    assert site["kind_of_process"](started, [sys.executable, *arguments.split()]) == kind
