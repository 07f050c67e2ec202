"""What a shop has outside and a demo has not: a card processor and a language model. Both only pretend, and say so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final


class PaymentBusyError(Exception):
    """The card processor is overloaded; the same charge may be tried again."""


class ModelOverloadedError(Exception):
    """The model takes no more work now."""


BUSY_TWICE_CARD: Final = "4000-0002"
ALWAYS_BUSY_CARD: Final = "4000-9995"


@dataclass
class PretendCardProcessor:
    """Answers by card number: one card is busy twice, then accepted; one is busy for ever; all others are accepted."""

    _calls: dict[str, int] = field(default_factory=dict)

    def charge(self, order_id: str, card: str, amount_cents: int) -> str:
        """The receipt number of a charge."""
        calls = self._calls[order_id] = self._calls.get(order_id, 0) + 1
        if card == ALWAYS_BUSY_CARD or (card == BUSY_TWICE_CARD and calls < 3):
            raise PaymentBusyError(f"processor busy, {amount_cents} cents not charged (call {calls})")
        return f"receipt-{order_id}-{amount_cents}"


@dataclass(frozen=True)
class Completion:
    """A text, and what it would have cost."""

    text: str
    input_tokens: int
    output_tokens: int


class PretendModel:
    """No language model at all: gives back the answer it is handed and counts words as tokens."""

    name: Final = "pretend-1"

    def complete(self, prompt: str, answer: str, *, overloaded: bool = False) -> Completion:
        """`answer`, as if it had been thought of."""
        if overloaded:
            raise ModelOverloadedError("model pretend-1 takes no more work now, retry later")
        return Completion(answer, len(prompt.split()), len(answer.split()))
