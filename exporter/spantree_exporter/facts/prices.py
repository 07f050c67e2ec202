"""What models cost, for calls whose cost nobody sent: a small table of our own, and a team's.

Prices are US dollars for a million tokens, as the makers' pages listed them in 2025; they change, and a cost that is
computed of them is marked as estimated. Off unless a team's rules have a section `[prices]` (custom.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spantree_exporter.facts.vocabulary import MODEL_CALLS, Facts


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars for a million tokens; those for the cache are None where they cost what other input does."""

    input: float
    output: float = 0.0
    cached_input: float | None = None
    cache_write: float | None = None


OURS: Final[dict[str, Price]] = {
    "gpt-4o": Price(2.5, 10.0, 1.25),
    "gpt-4o-mini": Price(0.15, 0.6, 0.075),
    "gpt-4.1": Price(2.0, 8.0, 0.5),
    "gpt-4.1-mini": Price(0.4, 1.6, 0.1),
    "gpt-4.1-nano": Price(0.1, 0.4, 0.025),
    "gpt-5": Price(1.25, 10.0, 0.125),
    "gpt-5-mini": Price(0.25, 2.0, 0.025),
    "gpt-5-nano": Price(0.05, 0.4, 0.005),
    "o3": Price(2.0, 8.0, 0.5),
    "o4-mini": Price(1.1, 4.4, 0.275),
    "text-embedding-3-small": Price(0.02),
    "text-embedding-3-large": Price(0.13),
    "claude-3-5-haiku": Price(0.8, 4.0, 0.08, 1.0),
    "claude-3-5-sonnet": Price(3.0, 15.0, 0.3, 3.75),
    "claude-3-7-sonnet": Price(3.0, 15.0, 0.3, 3.75),
    "claude-sonnet-4": Price(3.0, 15.0, 0.3, 3.75),
    "claude-opus-4": Price(15.0, 75.0, 1.5, 18.75),
    "gemini-2.0-flash": Price(0.1, 0.4, 0.025),
    "gemini-2.5-flash": Price(0.3, 2.5, 0.075),
    "gemini-2.5-pro": Price(1.25, 10.0, 0.31),
    "mistral-large": Price(2.0, 6.0),
    "mistral-small": Price(0.1, 0.3),
    "deepseek-chat": Price(0.27, 1.1, 0.07),
}
_PER: Final = 1e6
# Calls of a model; the figures of an agent are sums of those of its calls.
# `-2024-08-06`, `-20241022`, `-latest`, `:free`: the same model, on some day or by some route.
_DATED: Final = re.compile(r"(?:-\d{4}-\d{2}-\d{2}|-\d{8}|-latest|:[a-z0-9-]{1,40})\Z")
# Bedrock's `eu.anthropic.`, `-v2:0`, Vertex AI's `@20240620`: the same model of another house.
_HOUSE: Final = re.compile(
    r"\A(?:[a-z]{2,8}(?:-[a-z]{2,8})?\.)?(?:anthropic|amazon|cohere|deepseek|meta|mistral|openai)\."
)
_PINNED: Final = re.compile(r"(?:-v\d{1,3}(?::\d{1,3})?|@[a-z0-9-]{1,40})\Z")
_MODEL_CHARS: Final = 200


class Prices:
    """Estimates costs by a table of prices for models."""

    def __init__(self, of_models: Mapping[str, Price]) -> None:
        self._of_models = {model.lower(): price for model, price in of_models.items()}

    def of_model(self, model: str) -> Price | None:
        """The price of `model`, whichever day and provider its name says; None where the table has none."""
        name = model[:_MODEL_CHARS].lower()
        for candidate in (name, name.rpartition("/")[2]):
            if (price := self._of_models.get(candidate)) is not None:
                return price
            if (price := self._of_models.get(_DATED.sub("", candidate))) is not None:
                return price
        bare = _PINNED.sub("", _HOUSE.sub("", name.rpartition("/")[2]))
        return self._of_models.get(bare) or self._of_models.get(_DATED.sub("", bare))

    def put_cost(self, facts: Facts) -> None:
        """Put what the call cost, marked as estimated, where it has no cost but a model and tokens."""
        if "cost_usd" in facts or facts.get("kind") not in MODEL_CALLS:
            return
        given, made = facts.get("input_tokens"), facts.get("output_tokens")
        if given is None and made is None:
            return
        price = self.of_model(facts["model"])
        if price is None:
            return
        given, made = max(given or 0, 0), max(made or 0, 0)
        cached = min(max(facts.get("cached_input_tokens", 0), 0), given)
        written = min(max(facts.get("cache_write_tokens", 0), 0), given - cached)
        cost = (given - cached - written) * price.input + made * price.output
        cost += cached * (price.input if price.cached_input is None else price.cached_input)
        cost += written * (price.input if price.cache_write is None else price.cache_write)
        facts["cost_usd"] = cost / _PER
        facts["cost_estimated"] = True
