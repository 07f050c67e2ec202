"""LangGraph's run metadata, whichever instrumentation carries it: OpenInference, Traceloop or LangSmith.

OpenInference has it as JSON in `metadata`, Traceloop under `traceloop.association.properties.`, LangSmith under
`langsmith.metadata.`. `langgraph_checkpoint_ns` (`node:uuid`, nested `outer:uuid|inner:uuid`) is the identity of a
task: equal across retry attempts and before and after an interrupt (seen with langgraph 1.2).

Whatever a node calls inherits all of it, and has in `checkpoint_ns` the namespace that it runs in, which is the
node's own. The node and its routers have there the namespace of the graph around them, if any: that tells a node from
an agent of the same name inside it, and a router from a chain that happens to return a short text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from spantree_exporter.facts.reading import Convention, json_of, json_text, text_of, texts_of, whole_number
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, JsonValue, Span

_TRACELOOP = "traceloop.association.properties."
_LANGSMITH = "langsmith.metadata."
_KEYS = (
    "langgraph_node",
    "langgraph_step",
    "langgraph_triggers",
    "langgraph_path",
    "langgraph_checkpoint_ns",
    "checkpoint_ns",
    "lc_agent_name",
    "thread_id",
    "ls_integration",
)
# A router answers with names of nodes or with labels that its path map translates: short words, not prose.
_LABEL = re.compile(r"[\w.:\- ]{1,64}\Z")
# errors.py of langgraph: ParentCommand's text is that of the Command, whose last argument says where to go.
_RAISED_GOTO = "goto='"
_RAISED_END = "')"
# A router's answer is short; a text of more than this is a state that mentions a node.
_ROUTES_CHARS = 65_536
# A Command's goto is a name, a Send or a list of these.
_GOTO_DEPTH = 4
_SEND = re.compile(r"Send\(node='([^']+)'|\"node\": ?\"([^\"]+)\"")
_GRAPHS = frozenset({"langgraph", "langchain_create_agent"})
# What a graph is called that nobody gave a name.
_NO_NAME = "LangGraph"
# LangChain's create_agent names the node that runs tools so, always.
_TOOL_NODE = "tools"
RESERVED = frozenset({"__start__", "__end__"})
# What the graph itself does around its nodes, which older versions send as spans and tag `langsmith:hidden`.
_CHANNELS = ("ChannelWrite<", "ChannelRead<")


def metadata_of(span: Span) -> Mapping[str, JsonValue]:
    """LangGraph's run metadata of the span, by its own names; empty where there is none."""
    a = span.attributes
    parsed = json_of(a.get("metadata"))
    if isinstance(parsed, dict):
        return parsed
    by_traceloop = _TRACELOOP + "ls_integration" in a or _TRACELOOP + "langgraph_node" in a
    prefix = _TRACELOOP if by_traceloop else _LANGSMITH
    return {key: a[prefix + key] for key in _KEYS if prefix + key in a}


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    if a.get("gen_ai.operation.name") == "goto":
        # Traceloop's note of a Command: a span below the node that gave it.
        facts["fold"] = "router"
        facts["routes"] = texts_of(a.get("langgraph.command.goto_nodes", a.get("langgraph.command.goto_node")))
        return
    metadata = metadata_of(span)
    thread = text_of(metadata.get("thread_id"))
    if thread:
        facts.setdefault("conversation_id", thread)
    node = text_of(metadata.get("langgraph_node"))
    name = own_name(span)
    if node is not None and (name in RESERVED or name.startswith(_CHANNELS)) and span.status_code != STATUS_ERROR:
        facts["fold"] = "parent"
        return
    if node is None:
        if text_of(metadata.get("ls_integration")) in _GRAPHS and is_graph(span):
            facts["boundary"] = "run"
            facts["kind"] = "workflow"
            facts["workflow_name"] = name
            if span.scope.name.startswith("openinference."):
                facts["detached"] = True
            put_resume(span, facts, thread)
        return
    namespace = text_of(metadata.get("langgraph_checkpoint_ns")) or ""
    inside = bool(namespace) and metadata.get("checkpoint_ns") == namespace
    if inside:
        if text_of(metadata.get("ls_integration")) in _GRAPHS and is_chain(span):
            _put_inner(facts, name, node, metadata)
    elif name == node:
        _put_node(span, facts, node, namespace, metadata)
    elif is_chain(span):
        if span.status_code != STATUS_ERROR and (routes := routes_of(span)) is not None:
            facts["fold"] = "router"
            facts["routes"] = routes
            facts["name"] = name
        else:
            _put_inner(facts, name, node, metadata)
    if text_of(a.get("openinference.span.kind")) in {"CHAIN", "AGENT"}:
        facts.setdefault("kind", "function")


def _put_node(span: Span, facts: Facts, node: str, namespace: str, metadata: Mapping[str, JsonValue]) -> None:
    facts["name"] = node
    facts["kind"] = "step"
    facts["step"] = True
    facts["group"] = namespace.rpartition("|")[0] or "graph"
    step = whole_number(metadata.get("langgraph_step"))
    if step is not None:
        facts["order"] = step
    if node == _TOOL_NODE and metadata.get("ls_integration") == "langchain_create_agent":
        facts["transparent"] = True
    if namespace:
        facts["task_key"] = namespace
        facts["task_scope"] = "global"
    put_triggers(facts, metadata)
    put_goto(span, facts)


def _put_inner(facts: Facts, name: str, node: str, metadata: Mapping[str, JsonValue]) -> None:
    """A chain within a node: perhaps a graph of its own, which its children will tell."""
    if name in {node, _NO_NAME}:
        facts["fold"] = "container"
    facts["kind"] = "agent" if name == metadata.get("lc_agent_name") else "chain"
    # `step` is Traceloop's word for whatever runs in a graph; within a node it is a detail of the node.
    facts["step"] = False


def own_name(span: Span) -> str:
    """The name of the run that the span is of, without what the instrumentation puts before it."""
    return (
        text_of(span.attributes.get("gen_ai.task.name"))
        or text_of(span.attributes.get("traceloop.entity.name"))
        or span.name
    )


def is_graph(span: Span) -> bool:
    """Whether the span is a run of a chain or a graph at all, and not of a model, tool or retriever."""
    a = span.attributes
    kind = text_of(a.get("openinference.span.kind"))
    if kind is not None:
        return kind in {"CHAIN", "AGENT"}
    kind = text_of(a.get("langsmith.span.kind"))
    if kind is not None:
        return kind == "chain"
    return a.get("traceloop.span.kind") == "workflow" or "gen_ai.workflow.nodes" in a


def is_chain(span: Span) -> bool:
    """Whether the span is a chain: a function, a sequence or a graph."""
    a = span.attributes
    kind = text_of(a.get("openinference.span.kind")) or text_of(a.get("langsmith.span.kind"))
    if kind is None:
        return a.get("gen_ai.operation.name") == "execute_task"
    return kind in {"CHAIN", "AGENT", "chain"}


def routes_of(span: Span) -> list[str] | None:
    """The nodes or labels that a router chose; None where its output is no choice at all."""
    a = span.attributes
    output = a.get("output.value")
    if output is None:
        output = a.get("gen_ai.completion", a.get("traceloop.entity.output"))
        parsed = json_of(output)
        if isinstance(parsed, dict):
            output = parsed.get("outputs", parsed.get("output"))
    if isinstance(output, bool):
        return [str(output)]
    if isinstance(output, str):
        if len(output) > _ROUTES_CHARS:
            return None
        if "Send(" in output or '"node"' in output:
            sends = [one or other for one, other in _SEND.findall(output)]
            return sends or None
        listed = json_of(output) if output.startswith("[") else None
        if isinstance(listed, list):
            output = listed
        else:
            return [output] if _LABEL.match(output) else None
    if isinstance(output, list):
        names = [item for item in output if isinstance(item, str) and _LABEL.match(item)]
        if len(names) == len(output) and names:
            return names
        shown = json_text(output)
        if shown is None or len(shown) > _ROUTES_CHARS:
            return None
        # A Send is an object, or text that shows one.
        return [one or other for one, other in _SEND.findall(shown)] or None
    return None


def put_goto(span: Span, facts: Facts) -> None:
    """Put where a node sent the run by returning a Command, or by raising one for the graph around it."""
    a = span.attributes
    for key in ("output.value", "gen_ai.completion"):
        output = a.get(key)
        if isinstance(output, str) and '"goto"' in output:
            parsed = json_of(output)
            if isinstance(parsed, dict) and "output" in parsed:
                parsed = parsed["output"]
            commands = parsed if isinstance(parsed, list) else [parsed]
            targets: list[str] = []
            for command in commands:
                if isinstance(command, dict) and "update" in command and (goto := command.get("goto")):
                    targets.extend(_targets_of(goto))
            if targets:
                facts["routes"] = targets
            return
    for event in span.events:
        message = event.attributes.get("exception.message")
        if isinstance(message, str) and (target := _raised_goto(message)):
            facts["routes"] = [target]


def _raised_goto(message: str) -> str | None:
    """Where the Command sends that `message` shows: `Command(graph=..., goto='there')`."""
    shown = message.rstrip()
    if not shown.endswith(_RAISED_END):
        return None
    start = shown.rfind(_RAISED_GOTO)
    if start < 1 or shown[start - 1] not in " (," or shown.find("Command(", 0, start) < 0:
        return None
    target = shown[start + len(_RAISED_GOTO) : -len(_RAISED_END)]
    return target if target and "'" not in target else None


def _targets_of(goto: JsonValue, depth: int = 0) -> list[str]:
    """The names in a Command's `goto`: a name, a Send, or a list of both."""
    if isinstance(goto, dict):
        return [node] if (node := text_of(goto.get("node"))) else []
    if isinstance(goto, list):
        return [name for item in goto for name in _targets_of(item, depth + 1)] if depth < _GOTO_DEPTH else []
    if isinstance(goto, str):
        return [one or other for one, other in _SEND.findall(goto)] or [goto]
    return []


def put_triggers(facts: Facts, metadata: Mapping[str, JsonValue]) -> None:
    """Put what made the node run: sources that a join names, or a fan-out by Send."""
    for trigger in texts_of(metadata.get("langgraph_triggers")):
        if trigger.startswith("join:"):
            sources = trigger[len("join:") :].rpartition(":")[0]
            facts["sources"] = [s for s in sources.split("+") if s and s not in RESERVED]
        elif trigger == "__pregel_push":
            facts["fan_out"] = True


def put_resume(span: Span, facts: Facts, thread: str | None) -> None:
    """Put that the run takes up an interrupted one: its input is a Command with `resume`."""
    a = span.attributes
    sent = a.get("input.value") or a.get("gen_ai.prompt") or a.get("traceloop.entity.input")
    if thread and isinstance(sent, str) and '"resume"' in sent:
        parsed = json_of(sent)
        for envelope in ("inputs", "input"):
            if isinstance(parsed, dict) and isinstance(parsed.get(envelope), dict):
                parsed = parsed[envelope]
        if isinstance(parsed, dict) and parsed.get("resume") is not None and "goto" in parsed:
            facts["resumes"] = thread


CONVENTION = Convention(
    "langgraph",
    _read,
    keys=(
        "metadata",
        _TRACELOOP + "ls_integration",
        _TRACELOOP + "langgraph_node",
        "langgraph.command.goto_node",
        "langgraph.command.goto_nodes",
        _LANGSMITH + "ls_integration",
        _LANGSMITH + "langgraph_node",
    ),
)
