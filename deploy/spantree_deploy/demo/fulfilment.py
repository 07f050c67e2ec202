"""The workflow of the demo: from an order to a parcel, with every shape an execution can have.

validate -> (check stock | check credit | score fraud) -> collect checks -> [approve order: waits for a person]
         -> reserve item (loop) -> choose shipping -> express | standard | pickup -> gift wrap (maybe skipped)
         -> charge card (three attempts) -> pack parcel -> write note (a pretended model)
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import httpx

from spantree_deploy.demo.order_store import Order, OrderStore, WaitingOrder
from spantree_deploy.demo.stand_ins import (
    ModelOverloadedError,
    PaymentBusyError,
    PretendCardProcessor,
    PretendModel,
)
from spantree_exporter.tracing import Execution, Step, attempts, execution, node

APPROVAL_LIMIT_CENTS: Final = 100_000
PACKING_S: Final = 0.8
"""Longer than the delay of live marks, so that packing can be seen while it runs."""
RETRY_DELAY_S: Final = 0.05
SHIPPING: Final = ("ship express", "ship standard", "offer pickup")
AFTER_PAYMENT: Final = ("pack parcel", "write note")
WORKFLOW: Final = "order fulfilment"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where an order got to; `state` is shipped or waiting."""

    order_id: str
    state: str
    trace_id: str
    note: str = ""


class OrderRefusedError(Exception):
    """The checks speak against the order."""


class OrderFailedError(Exception):
    """Fulfilment broke off; the cause is in ``__cause__``, the execution in `trace_id`."""

    def __init__(self, order_id: str, trace_id: str) -> None:
        super().__init__(f"order {order_id} was not fulfilled")
        self.order_id = order_id
        self.trace_id = trace_id


class Fulfilment:
    """Takes orders through the workflow."""

    def __init__(
        self, store: OrderStore, warehouse: httpx.AsyncClient, processor: PretendCardProcessor, model: PretendModel
    ) -> None:
        self._store = store
        self._warehouse = warehouse
        self._processor = processor
        self._model = model

    async def start(self, order: Order) -> Outcome:
        """Fulfil a new order, or leave it waiting for approval. Raises OrderFailedError."""
        marking = execution(
            WORKFLOW, run_id=order.id, user_id=order.customer, project="shop", input=order.items, lost_after_s=60
        )
        with _failing(order.id) as failing, marking as run:
            failing.run = run
            collected = await self._check(order)
            if order.total_cents > APPROVAL_LIMIT_CENTS:
                with node("approve order", kind="human", depends_on=[collected]) as step:
                    ticket = step.waiting(f"{order.total_cents} cents need a manager's approval")
                    await asyncio.to_thread(self._store.set_state, order.id, "waiting", ticket)
                outcome = Outcome(order.id, "waiting", run.trace_id)
            else:
                outcome = await self._deliver(run, order)
            run.set_output(outcome)
            return outcome

    async def resume(self, waiting: WaitingOrder, approved_by: str) -> Outcome:
        """Take up an order that a person has approved. Raises OrderFailedError."""
        order = waiting.order
        marking = execution(
            WORKFLOW, resumes=order.id, resumed_step=waiting.ticket, user_id=order.customer, project="shop"
        )
        with _failing(order.id) as failing, marking as run:
            failing.run = run
            with node("approve order", kind="human") as step:
                step.set_output({"approved_by": approved_by})
            outcome = await self._deliver(run, order)
            run.set_output(outcome)
            return outcome

    async def _check(self, order: Order) -> Step:
        with node("validate", input=order.items):
            if not order.items:
                raise OrderRefusedError("an order needs at least one item")
            await asyncio.to_thread(self._store.add, order)
        answers = await asyncio.gather(self._check_stock(order), self._check_credit(order), self._score_fraud(order))
        with node("collect checks", depends_on=[step for step, _ in answers]) as collected:
            objections = [objection for _, objection in answers if objection]
            collected.set_output(objections)
            if objections:
                raise OrderRefusedError("; ".join(objections))
        return collected

    async def _check_stock(self, order: Order) -> tuple[Step, str]:
        with node("check stock", input=list(order.items)) as step:
            answer = await self._warehouse.get("/stock", params={"sku": list(order.items)})
            on_hand: dict[str, int] = answer.raise_for_status().json()
            step.set_output(on_hand)
        missing = [sku for sku, count in order.items.items() if on_hand.get(sku, 0) < count]
        return step, f"not on hand: {', '.join(missing)}" if missing else ""

    async def _check_credit(self, order: Order) -> tuple[Step, str]:
        with node("check credit", input=order.customer) as step:
            credit = await asyncio.to_thread(self._store.credit_cents, order.customer)
            step.set_output(credit)
        return step, "" if credit >= order.total_cents else f"credit of {credit} cents is too low"

    async def _score_fraud(self, order: Order) -> tuple[Step, str]:
        with node("score fraud") as step:
            await asyncio.sleep(0.03)
            score = min(99, 10 * len(order.items))
            step.set_output({"score": score})
        return step, "" if score < 50 else f"fraud score of {score}"

    async def _deliver(self, run: Execution, order: Order) -> Outcome:
        for number, (sku, count) in enumerate(order.items.items(), 1):
            with node("reserve item", iteration=number, input={sku: count}) as step:
                wanted = {"order_id": order.id, "sku": sku, "count": count}
                answer = await self._warehouse.post("/reservations", json=wanted)
                step.set_output(answer.raise_for_status().json())
        await self._ship(order)
        with node("gift wrap") as wrap:
            if not order.gift:
                wrap.skip("the customer wants no wrapping")
        try:
            await self._charge(order)
        except PaymentBusyError:
            run.never_ran(*AFTER_PAYMENT)
            raise
        with node("pack parcel", kind="task"):
            await asyncio.sleep(PACKING_S)
        note = await self._write_note(order)
        await asyncio.to_thread(self._store.set_state, order.id, "shipped")
        return Outcome(order.id, "shipped", run.trace_id, note)

    async def _ship(self, order: Order) -> None:
        chosen = "ship express" if order.express else "ship standard"
        with node("choose shipping", kind="router", input={"express": order.express}) as router:
            router.decide(chosen, not_taken=[way for way in SHIPPING if way != chosen])
        with node(chosen, chosen_by=router):
            await asyncio.sleep(0.02)

    async def _charge(self, order: Order) -> None:
        async for attempt in attempts(
            "charge card", kind="task", max_attempts=3, retry_on=PaymentBusyError, delay_s=RETRY_DELAY_S, backoff=2
        ):
            with attempt as step:
                step.set_output(self._processor.charge(order.id, order.card, order.total_cents))

    async def _write_note(self, order: Order) -> str:
        prompt = f"Write one friendly sentence to {order.customer} about {', '.join(order.items)}."
        try:
            with node("write note", kind="llm", model=self._model.name, input=prompt) as step:
                await asyncio.sleep(0.05)
                answer = f"Thank you! Your {' and '.join(order.items)} will be with you soon."
                completion = self._model.complete(prompt, answer, overloaded=order.model_overloaded)
                step.tokens(input=completion.input_tokens, output=completion.output_tokens)
                step.set_output(completion.text)
                return completion.text
        except ModelOverloadedError:
            # a parcel goes out without a note rather than not at all
            return "Thank you!"


class _failing:  # noqa: N801 - reads as what it is: with _failing(order)
    """Turns whatever breaks the run into an OrderFailedError that knows the execution."""

    def __init__(self, order_id: str) -> None:
        self._order_id = order_id
        self.run: Execution | None = None

    def __enter__(self) -> _failing:
        return self

    def __exit__(self, kind: object, exception: BaseException | None, traceback: object) -> None:
        if isinstance(exception, Exception):
            trace_id = self.run.trace_id if self.run is not None else ""
            raise OrderFailedError(self._order_id, trace_id) from exception
