"""A shop's afternoon in a few requests: `play` drives them and says which execution each one became."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx

from spantree_deploy.demo.orders import TRACE_HEADER
from spantree_deploy.demo.stand_ins import ALWAYS_BUSY_CARD, BUSY_TWICE_CARD

Progress = Callable[[str], None]
TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Played:
    """One request that became an execution."""

    trace_id: str
    what: str
    """A sentence for people."""
    status: str
    """What the execution ends as: completed, partial, failed or waiting."""
    run_id: str | None = None


class ScenarioError(Exception):
    """A service of the demo answered otherwise than it should."""


def play(base_url: str, progress: Progress = lambda line: None) -> list[Played]:
    """Send the demo's requests to the orders service, one after the other, some five seconds in all.

    Calls `progress` with a line before each. Raises ScenarioError naming the request and the answer that was wrong,
    httpx.HTTPError when the service cannot be reached. The spans are on their way, not yet stored, when this returns.
    """
    with httpx.Client(base_url=base_url, timeout=TIMEOUT_S) as client:
        player = _Player(client, progress)
        shipped = player.order(
            "an order goes through; its card is charged at the third attempt",
            "completed",
            {"customer": "ada", "items": {"tea": 2, "cup": 4, "teapot": 1}, "card": BUSY_TWICE_CARD, "express": True},
        )
        player.order(
            "an order ships although its thank-you note could not be written",
            "partial",
            {"customer": "linus", "items": {"tea": 1}, "gift": True, "model_overloaded": True},
        )
        player.order(
            "an order fails: the card processor stays busy for all three attempts",
            "failed",
            {"customer": "grace", "items": {"teapot": 2}, "card": ALWAYS_BUSY_CARD},
            answer=502,
        )
        player.order(
            "an order is refused: two of three parallel checks object",
            "failed",
            {"customer": "linus", "items": {"samovar": 1, "cup": 1_001}},
            answer=422,
        )
        waiting = player.order(
            "a large order waits for a manager",
            "waiting",
            {"customer": "grace", "items": {"samovar": 2}, "express": False},
            answer=202,
        )
        player.post(
            "the manager approves; a second request takes the order up again",
            "completed",
            f"/orders/{waiting}/approval",
            {"by": "the manager"},
            run_id=waiting,
        )
        for turn in ("first", "second"):
            player.post(
                f"the customer asks the assistant, {turn} turn of a conversation",
                "completed",
                "/assistant",
                {"conversation_id": f"conversation-{shipped}", "customer": "ada", "order_id": shipped},
            )
        return player.played


class _Player:
    def __init__(self, client: httpx.Client, progress: Progress) -> None:
        self._client = client
        self._progress = progress
        self.played: list[Played] = []

    def order(self, what: str, status: str, body: dict[str, object], answer: int = 200) -> str:
        """Place an order; its id."""
        reply = self.post(what, status, "/orders", body, answer)
        return str(reply["order_id"])

    def post(
        self,
        what: str,
        status: str,
        path: str,
        body: dict[str, object],
        answer: int = 200,
        run_id: str | None = None,
    ) -> dict[str, object]:
        self._progress(what)
        response = self._client.post(path, json=body)
        trace_id = response.headers.get(TRACE_HEADER)
        if response.status_code != answer or not trace_id:
            raise ScenarioError(
                f"{what}: POST {path} answered {response.status_code} with {TRACE_HEADER} {trace_id!r}, "
                f"expected {answer} and a trace id; body: {response.text[:300]}"
            )
        reply: dict[str, object] = response.json()
        order_id = reply.get("order_id")
        self.played.append(Played(trace_id, what, status, run_id or (str(order_id) if order_id else None)))
        return reply
