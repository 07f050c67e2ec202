"""Links to the same trace, or span, in Jaeger and in Grafana, where the settings say where those are. Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlencode

import orjson
from typing_extensions import TypedDict

from spantree_api.answers.executions import NodeDetail, documented

# The uid that deploy/grafana gives the Tempo data source which reads from here.
TEMPO_UID: Final = "spantree-tempo"


@documented
class Elsewhere(TypedDict, total=False):
    """Only of what is there."""

    jaeger_url: str
    """the trace, or span, in Jaeger's pages; where SPANTREE_JAEGER_URL is set"""
    grafana_url: str
    """the trace in Grafana, by the Tempo data source of deploy/grafana; where SPANTREE_GRAFANA_URL is set"""


@documented
class LinkedNodeDetail(NodeDetail, Elsewhere):
    """A node with all that its span holds, and where else it can be looked at."""


def elsewhere(jaeger_url: str | None, grafana_url: str | None, trace_id: str, span_id: str | None = None) -> Elsewhere:
    """The links of a trace, or of one of its spans, both ids in hex."""
    told: Elsewhere = {}
    if jaeger_url:
        find = "" if span_id is None else "?" + urlencode({"uiFind": span_id})
        told["jaeger_url"] = f"{jaeger_url.rstrip('/')}/trace/{trace_id}{find}"
    if grafana_url:
        query = {
            "refId": "A",
            "datasource": {"type": "tempo", "uid": TEMPO_UID},
            "queryType": "traceql",
            "query": trace_id,
        }
        panes = orjson.dumps({"spantree": {"datasource": TEMPO_UID, "queries": [query]}}).decode()
        told["grafana_url"] = f"{grafana_url.rstrip('/')}/explore?schemaVersion=1&panes={quote(panes, safe='')}"
    return told
