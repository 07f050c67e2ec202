"""A team's own rules: which of their attributes name the run, the step, its status and so on.

    [attributes]                        # lists of attribute names, the first that a span has counts
    run_id = ["job.run_id"]
    node_name = ["job.step"]
    status = ["job.state"]

    [status_words]                      # what their own words for a status mean
    "ON_HOLD" = "waiting"

    [hidden]                            # requests that lists leave out, instead of those of facts/probes.py
    paths = ["/healthz", "/internal/*"]

    [prices]                            # US dollars for a million tokens, of calls whose cost is not sent
    ours = true                         # the table of prices.py, too
    "my-model" = { input = 0.5, output = 1.5, cached_input = 0.1, cache_write = 0.6 }

They speak before every convention that spantree knows, so they also correct one. docs/conventions.md lists the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from spantree_exporter.errors import ConfigError
from spantree_exporter.facts.prices import OURS, Price, Prices
from spantree_exporter.facts.reading import (
    Convention,
    amount_of,
    first_text,
    put_preview,
    status_of,
    texts_of,
    whole_number,
)
from spantree_exporter.facts.vocabulary import Facts, Status
from spantree_exporter.span import Span
from spantree_exporter.stored import stored_key

_TEXTS: Final = {
    "run_id": "run_id",
    "workflow_name": "workflow_name",
    "conversation_id": "conversation_id",
    "user_id": "user_id",
    "project": "project",
    "node_name": "name",
    "node_kind": "kind",
    "status_reason": "status_reason",
    "task_key": "task_key",
    "condition": "condition",
    "condition_from": "condition_from",
    "error_type": "error_type",
    "error_message": "error_message",
    "model": "model",
}
_STATUSES: Final = {"status": "status", "run_status": "run_status"}
_NUMBERS: Final = {
    "attempt": "attempt",
    "max_attempts": "max_attempts",
    "iteration": "iteration",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
}
_LISTS: Final = {"depends_on": "depends_on", "skipped_nodes": "skipped_nodes"}
_PREVIEWS: Final[dict[str, Literal["input", "output"]]] = {"input": "input", "output": "output"}
_PRICE_FIELDS: Final = frozenset({"input", "output", "cached_input", "cache_write"})
FIELDS: Final = (*_TEXTS, *_STATUSES, *_NUMBERS, *_LISTS, *_PREVIEWS)


@dataclass(frozen=True, slots=True)
class Rules:
    """`attributes`: for a field the names of attributes that tell it. `status_words`: lower-case word -> status.

    `hidden_paths`: None for those that spantree knows; empty hides none.
    """

    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    status_words: Mapping[str, Status] = field(default_factory=dict)
    hidden_paths: tuple[str, ...] | None = None
    prices: Prices | None = None

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> Rules:
        """The rules that a parsed TOML document holds. Raises ConfigError with every fault at once."""
        faults = [
            f"{name} is no section of the rules; wanted [attributes], [status_words], [hidden] or [prices]"
            for name in document
            if name not in {"attributes", "status_words", "hidden", "prices"}
        ]
        attributes: dict[str, tuple[str, ...]] = {}
        for name, keys in _section(document, "attributes", faults).items():
            listed = texts_of(keys) if isinstance(keys, str | list) else []
            if name not in FIELDS:
                faults.append(f"{name} in [attributes] is no field; wanted one of {', '.join(FIELDS)}")
            elif not listed:
                faults.append(f'{name} in [attributes] is {keys!r}; wanted a list of attribute names, ["job.run_id"]')
            else:
                attributes[name] = tuple(stored_key(key) for key in listed)
        words: dict[str, Status] = {}
        for word, status in _section(document, "status_words", faults).items():
            if status not in get_args(Status):
                faults.append(f"{word} in [status_words] is {status!r}; wanted one of {', '.join(get_args(Status))}")
            else:
                words[word.lower()] = status  # type: ignore[assignment]
        hidden = _hidden_paths(_section(document, "hidden", faults), faults)
        prices = _prices(_section(document, "prices", faults), faults) if "prices" in document else None
        if faults:
            raise ConfigError(faults)
        return cls(attributes, words, hidden, prices)

    def convention(self) -> Convention:
        """The convention that speaks by these rules."""
        keys = tuple({key: None for names in self.attributes.values() for key in names})
        return Convention("custom", self._read, keys=keys)

    def _read(self, span: Span, facts: Facts) -> None:
        put: dict[str, object] = facts  # type: ignore[assignment]
        for name, keys in self.attributes.items():
            if name in _TEXTS:
                text = first_text(span, keys)
                if text is not None:
                    put[_TEXTS[name]] = text
                    if name in {"node_name", "task_key"}:
                        facts["step"] = True
                        facts.setdefault("kind", "step")
            elif name in _STATUSES:
                text = first_text(span, keys)
                if text is not None and (status := self.status_words.get(text.lower()) or status_of(text)):
                    put[_STATUSES[name]] = status
            elif name in _NUMBERS:
                for key in keys:
                    if (number := whole_number(span.attributes.get(key))) is not None:
                        put[_NUMBERS[name]] = number
                        break
            elif name in _LISTS:
                for key in keys:
                    if listed := texts_of(span.attributes.get(key)):
                        put[_LISTS[name]] = listed
                        break
            else:
                for key in keys:
                    put_preview(facts, _PREVIEWS[name], span.attributes.get(key))
        if "run_id" in facts and (span.parent_span_id is None or "run_status" in facts):
            facts["boundary"] = "run"


def _hidden_paths(section: Mapping[str, object], faults: list[str]) -> tuple[str, ...] | None:
    faults += [f"{name} in [hidden] is no field; wanted paths" for name in section if name != "paths"]
    paths = section.get("paths")
    if paths is None:
        return None
    if not isinstance(paths, list) or not all(isinstance(path, str) and path.startswith("/") for path in paths):
        faults.append(f'paths in [hidden] is {paths!r}; wanted a list of paths, ["/healthz", "/internal/*"]')
        return None
    return tuple(paths)


def _prices(section: Mapping[str, object], faults: list[str]) -> Prices:
    of_models: dict[str, Price] = {}
    if (ours := section.get("ours", False)) is True:
        of_models.update(OURS)
    elif ours is not False:
        faults.append(f"ours in [prices] is {ours!r}; wanted true or false")
    for model, told in section.items():
        if model == "ours":
            continue
        sums = {name: amount_of(told[name]) for name in told} if isinstance(told, dict) else {}
        if "input" not in sums or not set(sums) <= _PRICE_FIELDS or None in sums.values():
            faults.append(
                f"{model} in [prices] is {told!r}; wanted US dollars for a million tokens,"
                " { input = 0.5, output = 1.5 }, and, if they differ from input, cached_input and cache_write"
            )
            continue
        of_models[model] = Price(
            sums["input"] or 0.0, sums.get("output") or 0.0, sums.get("cached_input"), sums.get("cache_write")
        )
    return Prices(of_models)


def _section(document: Mapping[str, object], name: str, faults: list[str]) -> Mapping[str, object]:
    section = document.get(name, {})
    if isinstance(section, Mapping):
        return section
    faults.append(f"{name} of the rules is {section!r}; wanted a section [{name}]")
    return {}
