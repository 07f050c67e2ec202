"""The registry: which conventions there are, in which order they speak, and which of them a span needs.

Order is priority: a fact put by an earlier convention stays. Frameworks come before the semantic conventions that
they also follow, and what every span has (identity, exceptions) comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from spantree_exporter.attributes import REDACTED
from spantree_exporter.facts.conventions import (
    agent_framework,
    agentops,
    airflow,
    argo,
    asgi,
    autogen,
    aws_durable,
    azure_sdk,
    browser,
    buildkite,
    cancelled,
    celery,
    cicd,
    class_methods,
    claude_code,
    cloudflare,
    crewai,
    dagster,
    database,
    datadog,
    dbos,
    dify,
    durable_task,
    elsa,
    envoy,
    error_flag,
    errors,
    eve,
    faas,
    flink,
    flyte,
    genai,
    genkit,
    google_adk,
    hatchet,
    haystack,
    http,
    identity,
    jenkins,
    job_queues,
    kong,
    laminar,
    langfuse,
    langgraph,
    langsmith,
    langwatch,
    links,
    litellm,
    livekit,
    llama_index,
    logfire,
    mastra,
    mcp,
    messaging,
    metaflow,
    middleware,
    mlflow,
    n8n,
    openai_agents,
    openinference,
    openworkflow,
    own,
    pipecat,
    prefect,
    prisma,
    probes,
    pydantic_ai,
    quarkus_flow,
    restate,
    rpc,
    sentry,
    service_buses,
    smolagents,
    sockets,
    span_kinds,
    spring,
    spring_ai,
    spring_batch,
    strands,
    temporal,
    temporal_history,
    tool_results,
    traceloop,
    trigger_dev,
    usage,
    vercel_ai,
    vercel_workflow,
    vertx,
    wolverine,
    workflow,
)
from spantree_exporter.facts.prices import Prices
from spantree_exporter.facts.reading import Convention, texts_of
from spantree_exporter.facts.storable import NAME_CHARS, cut_name, make_storable
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import KIND_CONSUMER, KIND_SERVER, STATUS_ERROR, Span

CONVENTIONS: Final[tuple[Convention, ...]] = (
    own.CONVENTION,
    langgraph.CONVENTION,
    openai_agents.CONVENTION,
    pydantic_ai.CONVENTION,
    crewai.CONVENTION,
    crewai.OPENLLMETRY,
    smolagents.CONVENTION,
    autogen.CONVENTION,
    llama_index.CONVENTION,
    llama_index.OWN,
    class_methods.CONVENTION,
    haystack.CONVENTION,
    google_adk.CONVENTION,
    strands.CONVENTION,
    agent_framework.CONVENTION,
    eve.CONVENTION,
    vercel_ai.CONVENTION,
    vercel_ai.GEN_AI,
    langfuse.CONVENTION,
    laminar.CONVENTION,
    agentops.CONVENTION,
    langwatch.CONVENTION,
    spring_ai.CONVENTION,
    claude_code.CONVENTION,
    claude_code.QWEN_CODE,
    genkit.CONVENTION,
    livekit.CONVENTION,
    pipecat.CONVENTION,
    mastra.CONVENTION,
    dify.CONVENTION,
    litellm.CONVENTION,
    traceloop.CONVENTION,
    langsmith.CONVENTION,
    airflow.CONVENTION,
    argo.CONVENTION,
    spring_batch.CONVENTION,
    prefect.CONVENTION,
    dagster.CONVENTION,
    metaflow.CONVENTION,
    flyte.CONVENTION,
    dbos.CONVENTION,
    temporal.CONVENTION,
    temporal_history.CONVENTION,
    durable_task.CONVENTION,
    elsa.CONVENTION,
    celery.CONVENTION,
    job_queues.CONVENTION,
    service_buses.CONVENTION,
    wolverine.CONVENTION,
    hatchet.CONVENTION,
    trigger_dev.CONVENTION,
    n8n.CONVENTION,
    restate.CONVENTION,
    quarkus_flow.CONVENTION,
    aws_durable.CONVENTION,
    azure_sdk.CONVENTION,
    vercel_workflow.CONVENTION,
    openworkflow.CONVENTION,
    cicd.CONVENTION,
    jenkins.CONVENTION,
    buildkite.CONVENTION,
    workflow.CONVENTION,
    openinference.CONVENTION,
    mlflow.CONVENTION,
    mcp.CONVENTION,
    genai.CONVENTION,
    span_kinds.CONVENTION,
    tool_results.CONVENTION,
    usage.CONVENTION,
    asgi.CONVENTION,
    middleware.CONVENTION,
    middleware.SERVLET,
    sockets.CONVENTION,
    cancelled.CONVENTION,
    sentry.CONVENTION,
    spring.CONVENTION,
    vertx.CONVENTION,
    prisma.CONVENTION,
    flink.CONVENTION,
    datadog.CONVENTION,
    messaging.CONVENTION,
    database.CONVENTION,
    envoy.CONVENTION,
    kong.CONVENTION,
    cloudflare.CONVENTION,
    browser.CONVENTION,
    http.CONVENTION,
    rpc.CONVENTION,
    faas.CONVENTION,
    error_flag.CONVENTION,
    probes.CONVENTION,
    identity.CONVENTION,
    logfire.CONVENTION,
)
# Speaks last, of every span that failed or recorded something: it needs to know what the others said.
LAST: Final = errors.CONVENTION
# Speaks of every span with links, whatever its attributes are.
LINKS: Final = links.CONVENTION

# SpanFlags of trace.proto: whether the span knows if its parent is in another process, and that it is.
_KNOWS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200

# Scope names and combinations of attributes come from the network: the caches of what they lead to are bounded.
_CACHED_SCOPES = 10_000
_CACHED_MASKS = 4_096
_CACHED_SCOPE_CHARS = 256


class FactsReader:
    """Reads spans by a list of conventions. Makes no two passes over a span's attributes; safe to share by threads."""

    def __init__(
        self,
        conventions: Sequence[Convention] = CONVENTIONS,
        last: Convention = LAST,
        prices: Prices | None = None,
    ) -> None:
        self._conventions = tuple(conventions)
        self._last = last.read
        self._prices = prices
        self._by_key: dict[str, int] = {}
        for number, convention in enumerate(self._conventions):
            for key in convention.keys:
                self._by_key[key] = self._by_key.get(key, 0) | 1 << number
        self._keys = frozenset(self._by_key)
        self._by_scope: dict[str, int] = {}
        self._by_mask: dict[int, tuple[Callable[[Span, Facts], None], ...]] = {0: ()}

    def _mask_of_scope(self, scope: str) -> int:
        mask = 0
        for number, convention in enumerate(self._conventions):
            if convention.scopes and scope.startswith(convention.scopes):
                mask |= 1 << number
        if len(self._by_scope) < _CACHED_SCOPES and len(scope) <= _CACHED_SCOPE_CHARS:
            self._by_scope[scope] = mask
        return mask

    def mask(self, span: Span) -> int:
        """Which conventions the span follows: bit N for the N-th."""
        scope = span.scope.name
        mask = self._by_scope.get(scope)
        if mask is None:
            mask = self._mask_of_scope(scope)
        by_key = self._by_key
        for key in self._keys.intersection(span.attributes):
            mask |= by_key[key]
        return mask

    def __call__(self, span: Span) -> Facts:
        """The facts of `span`. Pure: equal spans give equal facts."""
        mask = self.mask(span)
        readers = self._by_mask.get(mask)
        if readers is None:
            readers = tuple(c.read for number, c in enumerate(self._conventions) if mask >> number & 1)
            if len(self._by_mask) < _CACHED_MASKS:
                self._by_mask[mask] = readers
        facts: Facts = {}
        for read in readers:
            read(span, facts)
        if span.links:
            LINKS.read(span, facts)
        if span.status_code == STATUS_ERROR or span.events or "error_type" in facts:
            self._last(span, facts)
        self._finish(span, facts)
        return facts

    def _finish(self, span: Span, facts: Facts) -> None:
        """Put what the span's own fields say, and make it all storable."""
        flags = span.flags
        if flags & _KNOWS_REMOTE and span.parent_span_id is not None:
            if flags & _IS_REMOTE:
                facts["parent_remote"] = True
            elif span.kind in {KIND_SERVER, KIND_CONSUMER}:
                # Their parents are elsewhere unless they say otherwise.
                facts["parent_remote"] = False
        if len(span.name) > NAME_CHARS:
            facts.setdefault("name", cut_name(span.name))
        if span.dropped_events_count or span.dropped_attributes_count or span.dropped_links_count:
            facts["anomalies"] = _lost_by_sdk(span)
        if REDACTED in span.attributes or REDACTED in span.resource.attributes or REDACTED in span.scope.attributes:
            facts["redacted"] = [
                note
                for told in (span.attributes, span.resource.attributes, span.scope.attributes)
                for note in texts_of(told.get(REDACTED)) or ()
            ]
        if facts:
            make_storable(facts)
            if self._prices is not None and "model" in facts:
                self._prices.put_cost(facts)

    def explain(self, span: Span) -> list[tuple[str, Facts]]:
        """(convention, the facts that it put) for each convention that put any, in the order they spoke.

        What belongs to no convention (the span's own fields, an estimated cost, what was cut) is said by `span`.
        """
        mask = self.mask(span)
        explained: list[tuple[str, Facts]] = []
        facts: Facts = {}
        spoken = [c for number, c in enumerate(self._conventions) if mask >> number & 1]
        for convention in (*spoken, LINKS, LAST, Convention("span", self._finish)):
            before = dict(facts)
            convention.read(span, facts)
            new = {key: value for key, value in facts.items() if key not in before or before[key] != value}
            if new:
                explained.append((convention.name, new))  # type: ignore[arg-type]
        return explained


def _lost_by_sdk(span: Span) -> list[str]:
    """What the span's own SDK says that it left out, for its limits: exceptions are events, too."""
    return [
        anomaly
        for anomaly, count in (
            ("attributes_dropped", span.dropped_attributes_count),
            ("events_dropped", span.dropped_events_count),
            ("links_dropped", span.dropped_links_count),
        )
        if count
    ]


read_facts: Final = FactsReader()
"""The facts of a span by the conventions that spantree knows, without anybody's own rules."""
