"""Frameworks whose spans are named `Class.method`, through OpenInference: Haystack, DSPy, and others like them.

The names that people gave their components are not sent; the class is what there is. Haystack's
components get the name that its documentation gives the role of such a class: `retriever` for InMemoryBM25Retriever.
"""

from __future__ import annotations

from spantree_exporter.facts.conventions.llama_index import token
from spantree_exporter.facts.reading import Convention, json_of, json_text
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, JsonValue, Span

_METHODS = frozenset(
    {
        "run", "run_async", "forward", "aforward", "__call__", "acall", "invoke", "ainvoke", "call", "execute",
        "kickoff",
        # Agno's: asked to wait or not, in one piece or as a stream, or to go on after a person's answer.
        "arun", "continue_run", "acontinue_run", "invoke_stream", "ainvoke_stream", "response", "aresponse",
    }
)  # fmt: skip
# Shorter values than this are equal by chance: flags, counts, empty lists.
_TELLING_CHARS = 12
# By the end of the class name, longer ends first.
_ROLES = (
    ("PromptBuilder", "prompt_builder"),
    ("AnswerBuilder", "answer_builder"),
    ("TextEmbedder", "text_embedder"),
    ("DocumentEmbedder", "document_embedder"),
    ("ToolInvoker", "tool_invoker"),
    ("OutputAdapter", "output_adapter"),
    ("Generator", "llm"),
    ("Retriever", "retriever"),
    ("Router", "router"),
    ("Ranker", "ranker"),
    ("Reader", "reader"),
    ("Joiner", "joiner"),
    ("Writer", "writer"),
    ("Cleaner", "cleaner"),
    ("Splitter", "splitter"),
    ("Converter", "converter"),
    ("Classifier", "classifier"),
    ("Fetcher", "fetcher"),
    ("Extractor", "extractor"),
    ("Embedder", "embedder"),
    ("Evaluator", "evaluator"),
    ("Validator", "validator"),
)


def _read(span: Span, facts: Facts) -> None:
    owner, dot, method = span.name.rpartition(".")
    if not dot or method not in _METHODS:
        return
    # `Predict(StringSignature)` is the same call as the `Predict` around it.
    plain, bracket, _ = owner.partition("(")
    if span.scope.name.endswith(".haystack"):
        facts["name"] = next((role for end, role in _ROLES if plain.endswith(end)), plain)
    facts.setdefault("name", plain)
    if bracket:
        facts.setdefault("fold", "nested")
    if span.status_code == STATUS_ERROR and plain.endswith("Adapter") and span.scope.name.endswith(".dspy"):
        # What a predictor asks by: where one fails, it asks by another (ChatAdapter.__call__ by JSONAdapter), or fails.
        facts["declared_handled"] = True
    if span.scope.name.endswith(".haystack"):
        if plain in {"Pipeline", "AsyncPipeline"}:
            facts["boundary"] = "run"
            facts["kind"] = "workflow"
        else:
            facts["step"] = True
            _put_values(span, facts)
            if plain.endswith("Router"):
                # A router has one output for each branch, and fills those that it chose.
                chosen = json_of(span.attributes.get("output.value"))
                if isinstance(chosen, dict) and len(chosen) == 1:
                    facts["decision"] = next(iter(chosen))


def _put_values(span: Span, facts: Facts) -> None:
    """Put what a component was given and gave: a value that one gave and another was given went from here to there."""
    given, gave = json_of(span.attributes.get("input.value")), json_of(span.attributes.get("output.value"))
    if isinstance(given, dict):
        named = {**given, **kwargs} if isinstance(kwargs := given.get("kwargs"), dict) else given
        if tokens := _tokens(named):
            facts["consumes"] = tokens
    if isinstance(gave, dict) and (tokens := _tokens(gave)):
        facts["emits"] = tokens


def _tokens(named: dict[str, JsonValue]) -> list[str]:
    """What stands for those of the values that are not likely to be equal by chance."""
    texts = [json_text(value) for value in named.values()]
    return [token(text) for text in texts if text is not None and len(text) >= _TELLING_CHARS]


CONVENTION = Convention(
    "class_methods",
    _read,
    scopes=(
        "openinference.instrumentation.haystack",
        "openinference.instrumentation.dspy",
        "openinference.instrumentation.smolagents",
        "openinference.instrumentation.agno",
    ),
)
