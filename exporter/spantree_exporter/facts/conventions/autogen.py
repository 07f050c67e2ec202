"""AutoGen's runtime (autogen-core 0.7): messages between agents, whose names hold the id of their team or runtime."""

from __future__ import annotations

import re
from typing import Final

from spantree_exporter.facts.reading import Convention
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import Span

# `autogen process critic_<uuid>.(<uuid>)-A`: a type of agent, its key in parentheses, A for an agent, T for a topic.
_KEY: Final = re.compile(r"\.\([^()]*\)-[AT]\Z")
_TEAM: Final = re.compile(r"_[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9a-f])")


def _read(span: Span, facts: Facts) -> None:
    if span.name.startswith("autogen "):
        facts["name"] = _TEAM.sub("", _KEY.sub("", span.name))


CONVENTION = Convention("autogen", _read, scopes=("autogen ",))
