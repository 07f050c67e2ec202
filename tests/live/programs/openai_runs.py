"""The OpenAI SDK against a local fake of its service: `openai_runs.py official|traceloop`."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from typing import Any

from ledger import Ledger, publish, start
from opentelemetry import trace

ledger = Ledger()
provider = start("live-openai", ledger)
tracer = trace.get_tracer("app")
if sys.argv[1] == "official":
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
elif sys.argv[1] == "traceloop":
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor
else:
    raise SystemExit(f"instrumentation {sys.argv[1]!r} is none of official, traceloop")
OpenAIInstrumentor().instrument(tracer_provider=provider)

import openai  # noqa: E402

USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
TOOL: Any = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}


class Fake(http.server.BaseHTTPRequestHandler):
    """Answers by the model that is asked for."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer a completion, a stream, embeddings or an error."""
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model = request["model"]
        if model == "overloaded":
            self._send(429, {"error": {"message": "rate limit reached", "type": "rate_limit", "code": "429"}})
        elif model == "forbidden":
            self._send(401, {"error": {"message": "bad key", "type": "auth", "code": "invalid_api_key"}})
        elif self.path.endswith("/embeddings"):
            vector = {"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}
            usage = {"prompt_tokens": 4, "total_tokens": 4}
            self._send(200, {"object": "list", "model": model, "data": [vector], "usage": usage})
        elif request.get("stream"):
            self._stream(model)
        else:
            message: dict[str, Any] = {"role": "assistant", "content": "Half past one."}
            finish = "stop"
            if request.get("tools") and request["messages"][-1]["role"] == "user":
                call = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
                message, finish = {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"
            choice = {"index": 0, "message": message, "finish_reason": finish}
            body = {"id": "x", "object": "chat.completion", "created": 1, "model": model + "-2026"}
            self._send(200, {**body, "choices": [choice], "usage": USAGE})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _stream(self, model: str) -> None:
        chunk: dict[str, Any] = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": model + "-2026"}
        parts = [{"delta": {"role": "assistant", "content": word}, "index": 0} for word in ("Half ", "past")]
        parts.append({"delta": {}, "index": 0, "finish_reason": "stop"})
        lines = [{**chunk, "choices": [part]} for part in parts] + [{**chunk, "choices": [], "usage": USAGE}]
        raw = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw.encode())

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def main() -> None:
    """Ask, in every way."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/v1"
    client = openai.OpenAI(base_url=address, api_key="none", max_retries=0)
    ask: list[Any] = [{"role": "user", "content": "What time is it?"}]
    usage = {"input_tokens": 12, "output_tokens": 5}
    with ledger.run("chat", told=usage), tracer.start_as_current_span("answer", attributes={"session.id": "s-1"}):
        ledger.note("answer")
        client.chat.completions.create(model="gpt-x", messages=ask)
    told = {"input_tokens": 24, "output_tokens": 10}
    with ledger.run("tools", told=told), tracer.start_as_current_span("agent"):
        answer = client.chat.completions.create(model="gpt-x", messages=ask, tools=[TOOL])
        with tracer.start_as_current_span(
            "execute_tool clock", attributes={"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "clock"}
        ):
            ledger.note("clock")
        said = answer.choices[0].message.model_dump(exclude_none=True)
        result = {"role": "tool", "tool_call_id": "c1", "content": "13:30"}
        client.chat.completions.create(model="gpt-x", messages=[*ask, said, result], tools=[TOOL])
    with ledger.run("stream", told=usage), tracer.start_as_current_span("speak"):
        options: Any = {"include_usage": True}
        for _ in client.chat.completions.create(model="gpt-x", messages=ask, stream=True, stream_options=options):
            pass
    with ledger.run("embed", told={"input_tokens": 4}), tracer.start_as_current_span("index"):
        client.embeddings.create(model="embed-x", input="text")
    for model, category in (("overloaded", "resource"), ("forbidden", "authentication")):
        with ledger.run(model, status="failed", told={"error_category": category}):
            try:
                with tracer.start_as_current_span(f"ask {model}"):
                    client.chat.completions.create(model=model, messages=ask)
            except openai.APIError as exc:
                print(type(exc).__name__, file=sys.stderr)
    with ledger.run("handled"), tracer.start_as_current_span("patient"):
        ledger.note("patient")
        try:
            client.chat.completions.create(model="overloaded", messages=ask)
        except openai.APIError:
            client.chat.completions.create(model="gpt-x", messages=ask)
    server.shutdown()
    provider.shutdown()
    publish(ledger)


main()
