"""Tokens and cost by all their names; codes of gRPC; prompts in parts; names of requests without ids."""

from __future__ import annotations

import json

import pytest
from tests.unit.facts.spans import span

from spantree_exporter.assemble.category import category_of
from spantree_exporter.facts import CONVENTIONS, Facts, FactsReader, read_facts
from spantree_exporter.facts.custom import Rules
from spantree_exporter.facts.prices import OURS, Prices
from spantree_exporter.facts.url_names import template_of
from spantree_exporter.otlp.build import build_scope
from spantree_exporter.span import KIND_CLIENT, STATUS_ERROR, Attributes, Event, JsonValue

CALL: Attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-2024-08-06"}


@pytest.mark.parametrize(
    ("sent", "fact", "value"),
    [
        ({"gen_ai.usage.cost": 0.36}, "cost_usd", 0.36),
        ({"operation.cost": 0.36}, "cost_usd", 0.36),
        ({"llm.cost.total": "0.5"}, "cost_usd", 0.5),
        ({"llm.cost.prompt": 0.25, "llm.cost.completion": 0.5}, "cost_usd", 0.75),
        ({"mlflow.llm.cost": '{"input_cost": 1, "total_cost": 1.5}'}, "cost_usd", 1.5),
        ({"langfuse.observation.cost_details": '{"input": 0.25, "output": 0.5}'}, "cost_usd", 0.75),
        ({"gen_ai.usage.cost": -1}, "cost_usd", None),
        ({"gen_ai.usage.cache_read.input_tokens": 7}, "cached_input_tokens", 7),
        ({"llm.token_count.completion_details.reasoning": 5}, "reasoning_tokens", 5),
        ({"gen_ai.usage.details.thoughts_tokens": 5}, "reasoning_tokens", 5),
        ({"gen_ai.usage.prompt_tokens": 3, "gen_ai.usage.input_tokens": 4}, "input_tokens", 4),
        # Strands; OpenLIT for TypeScript; LiveKit's realtime models; Google's ADK for Go; Vercel's AI SDK since 6.
        ({"gen_ai.usage.cache_write_input_tokens": 7}, "cache_write_tokens", 7),
        ({"gen_ai.usage.prompt_tokens_details.cache_read": 7}, "cached_input_tokens", 7),
        ({"gen_ai.usage.completion_tokens_details.reasoning": 5}, "reasoning_tokens", 5),
        ({"gen_ai.usage.input_cached_tokens": 7}, "cached_input_tokens", 7),
        ({"gen_ai.usage.experimental.reasoning_tokens": 5}, "reasoning_tokens", 5),
        ({"ai.usage.inputTokenDetails.cacheReadTokens": 7}, "cached_input_tokens", 7),
        ({"ai.usage.inputTokenDetails.cacheWriteTokens": 7}, "cache_write_tokens", 7),
        ({"ai.usage.outputTokenDetails.reasoningTokens": 5}, "reasoning_tokens", 5),
        # LangChain's details by way of LangSmith.
        ({"gen_ai.usage.input_token_details": '{"audio": 1, "cache_read": 7}'}, "cached_input_tokens", 7),
        ({"gen_ai.usage.input_token_details": '{"cache_creation": 7}'}, "cache_write_tokens", 7),
        ({"gen_ai.usage.output_token_details": '{"reasoning": 5}'}, "reasoning_tokens", 5),
        (
            {"gen_ai.usage.input_token_details": '{"cache_creation": 0, "ephemeral_5m_input_tokens": 7}'},
            "cache_write_tokens",
            7,
        ),
    ],
)
def test_usage_is_read_by_each_of_its_names(sent: Attributes, fact: str, value: object) -> None:
    assert read_facts(span("chat", sent)).get(fact) == value


@pytest.mark.parametrize(
    ("model", "priced"),
    [
        ("openrouter/openai/gpt-4o-2024-08-06", "gpt-4o"),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "claude-sonnet-4"),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet"),
        ("bedrock/us-gov.anthropic.claude-3-5-haiku-20241022-v1:0", "claude-3-5-haiku"),
        ("claude-3-5-sonnet@20240620", "claude-3-5-sonnet"),
        ("vertex_ai/claude-3-7-sonnet@20250219", "claude-3-7-sonnet"),
        # Another model, one that was tuned, and none that the table has.
        ("claude-opus-4-1-20250805", None),
        ("ft:gpt-4o-mini:acme::8abc", None),
        ("us.amazon.nova-pro-v1:0", None),
    ],
)
def test_a_model_costs_the_same_by_whichever_house_it_comes(model: str, priced: str | None) -> None:
    assert Prices(OURS).of_model(model) == (OURS[priced] if priced else None)


def test_a_cost_is_estimated_only_where_prices_are_given_and_none_was_sent() -> None:
    sent: Attributes = {**CALL, "gen_ai.usage.input_tokens": 1_000_000, "gen_ai.usage.output_tokens": 100_000}
    reader = FactsReader(CONVENTIONS, prices=Rules.from_document({"prices": {"ours": True}}).prices)
    told = reader(span("chat", sent, kind=KIND_CLIENT))
    assert (told["cost_usd"], told["cost_estimated"]) == (3.5, True)
    assert "cost_usd" not in read_facts(span("chat", sent, kind=KIND_CLIENT))
    declared = reader(span("chat", {**sent, "gen_ai.usage.cost": 1.0}, kind=KIND_CLIENT))
    assert (declared["cost_usd"], "cost_estimated" in declared) == (1.0, False)


@pytest.mark.parametrize(
    ("code", "name", "category", "status"),
    [
        (4, "DEADLINE_EXCEEDED", "timeout", "timed_out"),
        ("DeadlineExceeded", "DEADLINE_EXCEEDED", "timeout", "timed_out"),
        ("UNAVAILABLE", "UNAVAILABLE", "network", None),
        (8, "RESOURCE_EXHAUSTED", "resource", None),
        ("UNAUTHENTICATED", "UNAUTHENTICATED", "authentication", None),
        (7, "PERMISSION_DENIED", "permission", None),
        ("invalid_argument", "INVALID_ARGUMENT", "validation", None),
        ("CANCELED", "CANCELLED", "cancelled", "cancelled"),
    ],
)
def test_a_code_of_grpc_is_told_in_words(code: int | str, name: str, category: str, status: str | None) -> None:
    sent: Attributes = {"rpc.system": "grpc", "rpc.grpc.status_code": code}
    facts = read_facts(span("Cart/Add", sent, kind=KIND_CLIENT, status=STATUS_ERROR))
    assert (facts["error_type"], facts.get("status")) == (name, status)
    assert name.lower().replace("_", " ") in facts["error_message"]
    assert category_of(facts["error_type"], facts["error_message"]) == category


@pytest.mark.parametrize(
    ("sent", "events"),
    [
        ({"gen_ai.prompt.0.content": "why?", "gen_ai.completion.0.content": "so"}, []),
        ({"llm.input_messages.0.message.content": "why?", "llm.output_messages.0.message.content": "so"}, []),
        (CALL, [Event(1, "gen_ai.user.message", {"content": "why?"}),
                Event(2, "gen_ai.choice", {"message": '{"role":"assistant","content":"so"}'})]),
        (CALL, [Event(1, "gen_ai.content.prompt", {"gen_ai.prompt": "why?"}),
                Event(2, "gen_ai.content.completion", {"gen_ai.completion": "so"})]),
    ],
)  # fmt: skip
def test_prompt_and_answer_are_read_from_all_forms(sent: Attributes, events: list[Event]) -> None:
    facts: Facts = read_facts(span("chat", sent, kind=KIND_CLIENT, events=events))
    assert (facts["input"], facts["output"]) == ("why?", "so")


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/users/1000", "/users/{id}"),
        ("/v1/users/7f9c2b1e-0d7a-4b7e-9a55-0c6d1f2e3a4b/orders", "/v1/users/{id}/orders"),
        ("/chat/completions", "/chat/completions"),
        ("/oauth2/token", "/oauth2/token"),
        ("/users/bob@example.com", "/users/{id}"),
        ("/files/report-2024.pdf", "/files/{file}"),
        ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/..."),
        ("/users/{id}", "/users/{id}"),
    ],
)
def test_a_path_is_named_without_its_ids(path: str, template: str) -> None:
    assert template_of(path) == template


def test_client_calls_share_a_name_and_keep_what_tells_them_apart() -> None:
    def facts(number: int) -> Facts:
        sent: Attributes = {"http.request.method": "GET", "url.full": f"http://u:p@h/users/{number}?key=s"}
        return read_facts(span("GET", sent, kind=KIND_CLIENT))

    assert (facts(1000)["name"], facts(1000)["input"]) == ("GET /users/{id}", "http://h/users/1000")
    assert facts(1000)["input_digest"] != facts(1001)["input_digest"]


@pytest.mark.parametrize(
    ("sent", "tokens"),
    [
        # Anthropic's counts as they are (mlflow/mlflow#24759, fullsend-ai/fullsend#5361).
        ({"input_tokens": 30, "cache_read.input_tokens": 900, "cache_creation.input_tokens": 70}, (1000, None)),
        ({"input_tokens": 1000, "cache_read.input_tokens": 900, "cache_creation.input_tokens": 70}, (1000, None)),
        ({"input_tokens": 30, "cache_read.input_tokens": 900, "cache_write.input_tokens": 70}, (1000, None)),
        ({"input_tokens": 900, "cache_read.input_tokens": 900}, (900, None)),
        # Gemini's (google/adk-python#4829).
        ({"output_tokens": 20, "reasoning.output_tokens": 300}, (None, 320)),
        ({"output_tokens": 320, "reasoning.output_tokens": 300}, (None, 320)),
        ({"reasoning.output_tokens": 300, "cache_read.input_tokens": 900}, (None, None)),
    ],
)
def test_parts_that_are_larger_than_the_whole_were_told_apart_from_it(
    sent: dict[str, int], tokens: tuple[int | None, int | None]
) -> None:
    facts = read_facts(span("chat x", {f"gen_ai.usage.{key}": value for key, value in sent.items()}))
    assert (facts.get("input_tokens"), facts.get("output_tokens")) == tokens


PARTS = {"cache_read.input_tokens": 100, "reasoning.output_tokens": 20}


@pytest.mark.parametrize(
    ("sent", "total", "tokens"),
    [
        # Counted in, as nearly everybody does; Bedrock's Converse and Gemini's, of whose whole they are parts.
        ({"input_tokens": 207, "output_tokens": 30, **PARTS}, 237, (207, 30)),
        ({"input_tokens": 207, "output_tokens": 30, **PARTS}, 337, (307, 30)),
        ({"input_tokens": 207, "output_tokens": 30, **PARTS}, 257, (207, 50)),
        ({"input_tokens": 207, "output_tokens": 30, **PARTS}, 357, (307, 50)),
        ({"input_tokens": 207, "output_tokens": 30, **PARTS, "cache_creation.input_tokens": 7}, 344, (314, 30)),
        # A total of something else tells nothing; what is larger than its whole is beside it whatever the total is.
        ({"input_tokens": 207, "output_tokens": 30, **PARTS}, 9_999, (207, 30)),
        ({"input_tokens": 4, "output_tokens": 30, **PARTS}, 34, (104, 30)),
    ],
)
@pytest.mark.parametrize(
    "name", ["gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total", "ai.usage.totalTokens"]
)
def test_a_total_tells_whether_parts_are_counted_in(
    name: str, sent: dict[str, int], total: int, tokens: tuple[int, int]
) -> None:
    facts = read_facts(span("chat x", {**{f"gen_ai.usage.{key}": value for key, value in sent.items()}, name: total}))
    assert (facts["input_tokens"], facts["output_tokens"]) == tokens


@pytest.mark.parametrize(
    ("scope", "provider", "given"),
    [
        ("pipecat", "anthropic", 307),
        ("pipecat", "aws.bedrock", 307),
        ("pipecat", "openai", 207),
        ("pipecat", None, 207),
        ("agentscope", "anthropic", 307),
        ("agentscope", "dashscope", 207),
        ("openinference.instrumentation.claude_agent_sdk", None, 307),
        ("openinference.instrumentation.anthropic", "anthropic", 207),
    ],
)
def test_who_sends_the_counts_of_anthropic_as_they_are(scope: str, provider: str | None, given: int) -> None:
    sent: Attributes = {"llm.token_count.prompt": 207, "llm.token_count.prompt_details.cache_read": 100}
    assert read_facts(span("x", {**sent, "gen_ai.provider.name": provider}, scope=scope))["input_tokens"] == given


@pytest.mark.parametrize(("provider", "given"), [("Anthropic", 307), ("OpenAI", 207), (["Anthropic"], 207)])
def test_agno_passes_the_counts_of_anthropic_on(provider: JsonValue, given: int) -> None:
    sent: Attributes = {"llm.token_count.prompt": 207, "llm.token_count.prompt_details.cache_read": 100}
    call = span("Claude.invoke", {**sent, "llm.provider": provider}, scope="openinference.instrumentation.agno")
    assert read_facts(call)["input_tokens"] == given


@pytest.mark.parametrize(("version", "given"), [("0.62.3", 500), ("0.40.14", 500), ("0.62.4", 300), ("", 300)])
def test_bedrocks_instrumentation_left_out_what_was_cached_up_to_a_version(version: str, given: int) -> None:
    """traceloop/openllmetry#4449."""
    sent: Attributes = {
        "gen_ai.usage.input_tokens": 300,
        "gen_ai.usage.output_tokens": 40,
        "gen_ai.usage.total_tokens": 340,
        "gen_ai.usage.cache_read.input_tokens": 100,
        "gen_ai.usage.cache_creation.input_tokens": 100,
    }
    call = span("bedrock.converse", sent)
    call.scope = build_scope("opentelemetry.instrumentation.bedrock", version, {}, "", 0, [])
    assert read_facts(call)["input_tokens"] == given


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        # Each number is priced by itself: those beside `input` are no part of it (langfuse/langfuse#5568, #10592).
        (
            {"input": 207, "input_cached_tokens": 100, "output": 30, "output_reasoning_tokens": 20, "total": 357},
            (307, 50, 100, None, 20),
        ),
        ({"input": 207, "input_cache_read": 100, "output": 30, "output_reasoning": 20}, (307, 50, 100, None, 20)),
        ({"input_tokens": 30, "output_tokens": 5, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 7},
         (57, 5, 20, 7, None)),
        ({"input": 0, "input_modality_TEXT": 90, "input_audio": 10, "output": 4}, (100, 4, None, None, None)),
        ({"input": 90, "input_priority": 90, "output": 4, "output_priority_reasoning": 2}, (90, 4, None, None, None)),
        # LiteLLM's, of which what was read alone is not in `input` (BerriAI/litellm#26919).
        (
            {"input": 307, "output": 30, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 200,
             "total": 437},
            (407, 30, 100, 200, None),
        ),
        # Sent as parts of `input` all the same: the total says so.
        ({"input": 207, "input_cached_tokens": 100, "output": 30, "total": 237}, (207, 30, 100, None, None)),
        # OpenAI's own.
        (
            {"prompt_tokens": 207, "completion_tokens": 30, "total_tokens": 237,
             "prompt_tokens_details": {"cached_tokens": 100}, "completion_tokens_details": {"reasoning_tokens": 20}},
            (207, 30, 100, None, 20),
        ),
        ({"prompt_tokens": 207, "completion_tokens": 30, "cache_read_input_tokens": 100}, (207, 30, 100, None, None)),
        ({"input_tokens": 207, "output_tokens": 30, "input_tokens_details": {"cached_tokens": 100}},
         (207, 30, 100, None, None)),
        ({"output": 3}, (None, 3, None, None, None)),
        ({"input": "many", "output": None}, (None, None, None, None, None)),
    ],
)  # fmt: skip
def test_langfuse_tells_parts_beside_the_whole(usage: dict[str, object], told: tuple[int | None, ...]) -> None:
    sent: Attributes = {"langfuse.observation.usage_details": json.dumps(usage)}
    facts = read_facts(span("answer", sent))
    assert (
        facts.get("input_tokens"),
        facts.get("output_tokens"),
        facts.get("cached_input_tokens"),
        facts.get("cache_write_tokens"),
        facts.get("reasoning_tokens"),
    ) == told
