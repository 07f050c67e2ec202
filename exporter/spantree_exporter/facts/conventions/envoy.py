"""Envoy's spans, and those of meshes of it (Istio): why a request ended is told by `response_flags`, by letters.

A client that went away is told with `error` as a request without an answer is, and so is the end of a connection that
was upgraded (101, a WebSocket): neither is a failure of whoever was asked.
"""

from __future__ import annotations

from typing import Final

from spantree_exporter.facts.reading import Convention, first_text, text_of
from spantree_exporter.facts.vocabulary import Facts
from spantree_exporter.span import STATUS_ERROR, Span

_CODES: Final = ("http.response.status_code", "http.status_code")
_FLAGS: Final = "response_flags"
_CLIENT_GONE: Final = frozenset({"DC", "DR"})
_TIMED_OUT: Final = frozenset({"UT", "SI", "DT"})
# envoy: "Access logging", response flags.
_WORDS: Final = {
    "UH": "no healthy upstream",
    "UF": "upstream connection failure",
    "UO": "upstream overflow",
    "NR": "no route",
    "NC": "no cluster",
    "URX": "upstream retry limit exceeded",
    "LR": "local reset",
    "UR": "upstream reset",
    "UC": "upstream connection terminated",
    "UT": "upstream request timed out",
    "SI": "stream idle timeout",
    "DT": "duration timeout",
    "RL": "rate limited",
    "UAEX": "denied by external authorization",
    "RLSE": "rate limit service error",
    "DPE": "downstream protocol error",
    "UPE": "upstream protocol error",
    "OM": "overload manager",
    "DF": "DNS resolution failed",
}
_LETTERS_CHARS: Final = 64


def _read(span: Span, facts: Facts) -> None:
    a = span.attributes
    letters = (text_of(a.get(_FLAGS)) or "")[:_LETTERS_CHARS]
    flags = letters.split(",")
    code = first_text(span, _CODES) or ""
    failed = span.status_code == STATUS_ERROR or a.get("error") in (True, "true") or code[:1] == "5"
    if not failed:
        return
    if code == "101":
        facts.setdefault("status", "completed")
    elif len(code) != len("200") and not _CLIENT_GONE.isdisjoint(flags):
        facts.setdefault("status", "cancelled")
        facts.setdefault("status_reason", f"client disconnected ({letters})")
        return
    reasons = [_WORDS[flag] for flag in flags if flag in _WORDS] or [text_of(a.get("error.reason")) or ""]
    if reasons[0]:
        answered = f"HTTP {code}: " if len(code) == 3 else ""
        told = f" ({letters})" if letters.strip("-") else ""
        facts.setdefault("error_message", f"{answered}{', '.join(reasons)[:500]}{told}")
    if not _TIMED_OUT.isdisjoint(flags):
        facts.setdefault("status", "timed_out")


CONVENTION = Convention("envoy", _read, keys=(_FLAGS,))
