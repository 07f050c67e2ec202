"""Tokens and cost, by all the names under which they are sent: what a span says of itself, as it says it.

A figure of an agent may be the sum of those below it: `assemble` counts of each span what its descendants have not
said. Sources: semantic-conventions-genai; OpenInference's, OpenLIT's and Traceloop's semantic conventions; LiteLLM,
pydantic-ai, LangSmith, MLflow, Strands, LiveKit, Google's ADK and Vercel's AI SDK. What Langfuse tells is
`langfuse.py`'s to read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from spantree_exporter.facts.reading import Convention, amount_of, json_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import JsonValue, Span

# For each fact the attributes that tell it, the most exact first.
_TOKENS: Final[dict[str, tuple[str, ...]]] = {
    "input_tokens": (
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.prompt_tokens",
        "llm.token_count.prompt",
        "llm.usage.prompt_tokens",
        "llm.usage.input_tokens",
        "ai.usage.inputTokens",
        "ai.usage.promptTokens",
        "ai.usage.tokens",
        "gen_ai.aggregated_usage.input_tokens",
    ),
    "output_tokens": (
        "gen_ai.usage.output_tokens",
        "gen_ai.usage.completion_tokens",
        "llm.token_count.completion",
        "llm.usage.completion_tokens",
        "llm.usage.output_tokens",
        "ai.usage.outputTokens",
        "ai.usage.completionTokens",
        "gen_ai.aggregated_usage.output_tokens",
    ),
    "cached_input_tokens": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.cached_input_tokens",
        "gen_ai.usage.cached_tokens",
        "gen_ai.usage.cache_read_tokens",
        "gen_ai.usage.input_cached_tokens",
        "gen_ai.usage.input_tokens.cached",
        "gen_ai.usage.prompt_tokens_details.cached_tokens",
        "gen_ai.usage.prompt_tokens_details.cache_read",
        "gen_ai.usage.details.cache_read_tokens",
        "gen_ai.usage.details.cached_tokens",
        "gen_ai.usage.details.cached_content_tokens",
        "llm.token_count.prompt_details.cache_read",
        "llm.token_count.prompt_details.cache_input",
        "llm.usage.cache_read_input_tokens",
        "ai.usage.inputTokenDetails.cacheReadTokens",
        "ai.usage.cachedInputTokens",
        "agentscope.usage.cache_input_tokens",
    ),
    "cache_write_tokens": (
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.cache_write_input_tokens",
        "gen_ai.usage.cache_write_tokens",
        "gen_ai.usage.cache_creation_tokens",
        "gen_ai.usage.prompt_tokens_details.cache_creation_tokens",
        "gen_ai.usage.prompt_tokens_details.cache_write",
        "gen_ai.usage.details.cache_write_tokens",
        "gen_ai.usage.details.cache_creation_input_tokens",
        "llm.token_count.prompt_details.cache_write",
        "llm.usage.cache_creation_input_tokens",
        "ai.usage.inputTokenDetails.cacheWriteTokens",
        "agentscope.usage.cache_creation_input_tokens",
    ),
    "reasoning_tokens": (
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_tokens",
        "gen_ai.usage.output_tokens.reasoning",
        "gen_ai.usage.experimental.reasoning_tokens",
        "gen_ai.usage.completion_tokens_details.reasoning_tokens",
        "gen_ai.usage.completion_tokens_details.reasoning",
        "gen_ai.usage.details.reasoning_tokens",
        "gen_ai.usage.details.thoughts_tokens",
        "llm.token_count.completion_details.reasoning",
        "llm.usage.reasoning_tokens",
        "ai.usage.outputTokenDetails.reasoningTokens",
        "ai.usage.reasoningTokens",
    ),
    "embedding_tokens": ("llm.token_count.embedding", "gen_ai.usage.embedding_tokens"),
}
_COSTS: Final = (
    "gen_ai.usage.cost",
    "gen_ai.usage.total_cost",
    "gen_ai.usage.cost_usd",
    "gen_ai.usage.cost.total",
    "gen_ai.cost.total_cost",
    "gen_ai.cost.total",
    "gen_ai.cost",
    "operation.cost",
    "llm.cost.total",
    "llm.usage.total_cost",
    "llm.usage.cost",
    "llm.cost",
    "litellm.response_cost",
    "response_cost",
    "total_cost_usd",
    "cost_usd",
)
# Where only the parts are sent, their sum is the cost.
_COST_PARTS: Final = (
    ("llm.cost.prompt", "llm.cost.completion"),
    ("gen_ai.usage.input_cost", "gen_ai.usage.output_cost"),
    ("gen_ai.usage.prompt_cost", "gen_ai.usage.completion_cost"),
    ("gen_ai.cost.input", "gen_ai.cost.output"),
)
# Objects, most often as JSON, that hold several figures.
_USAGE_OBJECTS: Final = ("mlflow.chat.tokenUsage", "mlflow.trace.tokenUsage")
# LangChain's details of one side, as LangSmith sends them: parts of what `gen_ai.usage.*` tells.
_DETAIL_OBJECTS: Final = ("gen_ai.usage.input_token_details", "gen_ai.usage.output_token_details")
# The same within an object of usage: OpenAI's chat and its responses.
_DETAILS: Final = (
    "prompt_tokens_details",
    "completion_tokens_details",
    "input_tokens_details",
    "output_tokens_details",
)
_COST_OBJECTS: Final = ("langfuse.observation.cost_details", "mlflow.llm.cost", "mlflow.trace.cost")
_MEMBERS: Final[dict[str, tuple[str, ...]]] = {
    "input_tokens": ("input", "input_tokens", "prompt_tokens"),
    "output_tokens": ("output", "output_tokens", "completion_tokens"),
    "cached_input_tokens": ("cache_read_input_tokens", "cached_tokens", "cache_read"),
    "cache_write_tokens": ("cache_creation_input_tokens", "cache_creation"),
    "reasoning_tokens": ("reasoning_tokens", "reasoning"),
}
# LangChain's names of what was written to Anthropic's caches, each for so long; `cache_creation` is 0 beside them.
_WRITTEN_FOR: Final = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
# Who sends Anthropic's own counts as they are, with a total of these alone, if any.
_NET_SCOPES: Final = ("openinference.instrumentation.claude_agent_sdk",)
# The same by way of a scope: the attribute that names the provider, and providers whose counts are passed on.
_NET_PROVIDERS: Final = {
    "pipecat": ("gen_ai.provider.name", ("anthropic", "aws.bedrock")),
    "agentscope": ("gen_ai.provider.name", ("anthropic",)),
    # agno: models/anthropic/claude.py, _get_metrics
    "openinference.instrumentation.agno": ("llm.provider", ("Anthropic",)),
}
# Who did so up to a version: Bedrock's of OpenLLMetry with a total that leaves them out, too (openllmetry#4449).
_NET_UNTIL: Final = {"opentelemetry.instrumentation.bedrock": (0, 62, 3)}
_VERSION: Final = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})")
# What all tokens of the span are together, where it says that: whether parts are counted in is told by it.
_TOTALS: Final = (
    "gen_ai.usage.total_tokens",
    "llm.usage.total_tokens",
    "llm.token_count.total",
    "ai.usage.totalTokens",
)
_COST_MEMBERS: Final = ("total", "total_cost", "cost")

_FACT_OF: Final = {
    key: (place, fact) for fact, keys in _TOKENS.items() for place, key in enumerate(keys)
}  # attribute -> (how exact, fact)
_OBJECTS: Final = (*_USAGE_OBJECTS, *_DETAIL_OBJECTS)
_COST_KEYS: Final = frozenset({*_COSTS, *(key for pair in _COST_PARTS for key in pair), *_COST_OBJECTS})


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    put: dict[str, object] = facts  # type: ignore[assignment]
    best: dict[str, int] = {}
    costs = False
    for key in a:
        if (told := _FACT_OF.get(key)) is not None:
            place, fact = told
            if (fact not in facts or place < best.get(fact, 0)) and (number := whole_number(a[key])) is not None:
                put[fact] = number
                best[fact] = place
        elif key in _COST_KEYS:
            costs = True
    for key in _OBJECTS:
        if key in a and isinstance(usage := json_of(a[key]), dict):
            _put_members(usage, put)
    if "cached_input_tokens" in facts or "cache_write_tokens" in facts or "reasoning_tokens" in facts:
        total = next((total for key in _TOTALS if (total := whole_number(a.get(key))) is not None), None)
        _make_whole(facts, total, is_net=_leaves_out_cached(span))
    if costs and "cost_usd" not in facts and (cost := _cost(a)) is not None:
        facts["cost_usd"] = cost
    if facts.get("kind") == "embedding" and "input_tokens" in facts:
        facts.setdefault("embedding_tokens", facts["input_tokens"])


def put_usage(usage: JsonValue, facts: Facts) -> None:
    """Put the figures of an object of usage, as a provider's answer has one, so far as nobody has put them."""
    told = json_of(usage)
    if not isinstance(told, dict):
        return
    put: dict[str, object] = facts  # type: ignore[assignment]
    _put_members(told, put)
    for key in _DETAILS:
        if isinstance(details := told.get(key), dict):
            _put_members(details, put)
    if "cached_input_tokens" in facts or "cache_write_tokens" in facts or "reasoning_tokens" in facts:
        _make_whole(facts, whole_number(told.get("total_tokens")), is_net=False)


def _leaves_out_cached(span: Span) -> bool:
    """Whether the input that the span tells is Anthropic's or Bedrock's own, by what sent it."""
    scope = span.scope.name
    if (by := _NET_PROVIDERS.get(scope)) is not None:
        key, providers = by
        return span.attributes.get(key) in providers
    if (last := _NET_UNTIL.get(scope)) is not None:
        version = _VERSION.match(span.scope.version)
        return version is not None and tuple(map(int, version.groups())) <= last
    return scope.startswith(_NET_SCOPES)


def _make_whole(facts: Facts, total: int | None, *, is_net: bool) -> None:
    """Add to input and output the parts that were told apart from them.

    Anthropic's own counts leave out of the input what was cached, Gemini's of the output what was thought; semantic
    conventions and most instrumentations count both in. Parts that are larger than the whole are told apart from it,
    and so are those that `total` has beyond input and output; any other may be meant either way, unless `is_net`.
    """
    cached = facts.get("cached_input_tokens", 0) + facts.get("cache_write_tokens", 0)
    reasoning = facts.get("reasoning_tokens", 0)
    given, made = facts.get("input_tokens"), facts.get("output_tokens")
    beyond = total - (given or 0) - (made or 0) if total is not None else 0
    if given is not None and (is_net or cached > given or (beyond > 0 and beyond in {cached, cached + reasoning})):
        facts["input_tokens"] = given + cached
    if made is not None and (reasoning > made or (beyond > 0 and beyond in {reasoning, cached + reasoning})):
        facts["output_tokens"] = made + reasoning


def _put_members(usage: Mapping[str, JsonValue], put: dict[str, object]) -> None:
    for fact, members in _MEMBERS.items():
        for member in members:
            if fact not in put and (number := whole_number(usage.get(member))) is not None:
                put[fact] = number
    if not put.get("cache_write_tokens") and (written := sum(whole_number(usage.get(m)) or 0 for m in _WRITTEN_FOR)):
        put["cache_write_tokens"] = written


def _cost(a: Mapping[str, JsonValue]) -> float | None:
    for key in _COSTS:
        if key in a and (amount := amount_of(a[key])) is not None:
            return amount
    for key in _COST_OBJECTS:
        if key in a and isinstance(costs := json_of(a[key]), dict):
            for member in _COST_MEMBERS:
                if (amount := amount_of(costs.get(member))) is not None:
                    return amount
            if (total := _sum(costs.values())) is not None:
                return total
    for keys in _COST_PARTS:
        if (total := _sum(a.get(key) for key in keys)) is not None:
            return total
    return None


def _sum(values: Iterable[JsonValue]) -> float | None:
    amounts = [amount for value in values if (amount := amount_of(value)) is not None]
    return sum(amounts) if amounts else None


CONVENTION = Convention("usage", _read, keys=(*_FACT_OF, *_COST_KEYS, *_OBJECTS))
