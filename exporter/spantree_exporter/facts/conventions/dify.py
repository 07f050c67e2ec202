"""Dify's own spans (ENABLE_OTEL): `dify.app_id`, and nodes by `node.id` with what they are as `gen_ai.span.kind`.

Source: `api/core/app/workflow/layers/observability.py`, `api/extensions/otel/`. A node is named for its title. The span
around a run is named for the function that is run, the same for all apps, and so is the request; its app tells them
apart. What is a node, and its id, is `workflow.py`'s to read.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

_APP: Final = "dify.app_id"
_FRAMEWORK: Final = "gen_ai.framework"
_KINDS: Final = {"llm": "llm", "retriever": "retriever", "tool": "tool"}


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if app := text_of(a.get(_APP)):
        facts.setdefault("boundary", "candidate")
        facts.setdefault("kind", "workflow")
        facts.setdefault("workflow_name", app)
        facts.setdefault("name", ".".join(span.name.split(".")[-2:]))
    elif a.get(_FRAMEWORK) == "dify" and "node.id" in a:
        kind = text_of(a.get("gen_ai.span.kind")) or ""
        facts.setdefault("kind", _KINDS.get(kind.lower(), "step"))


CONVENTION = Convention("dify", _read, keys=(_APP, _FRAMEWORK))
