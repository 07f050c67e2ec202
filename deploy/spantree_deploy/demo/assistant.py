"""The shop's assistant: an agent of three steps, one execution a turn, turns held together by a conversation id."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from spantree_deploy.demo.order_store import OrderStore
from spantree_deploy.demo.stand_ins import PretendModel
from spantree_exporter.tracing import current_step, execution, node


@dataclass(frozen=True, slots=True)
class Answer:
    """What the customer reads."""

    text: str
    trace_id: str


class Assistant:
    """Answers where an order is."""

    def __init__(self, store: OrderStore, model: PretendModel) -> None:
        self._store = store
        self._model = model

    async def answer(self, conversation_id: str, customer: str, order_id: str) -> Answer:
        """One turn."""
        question = f"Where is my order {order_id}?"
        with (
            execution(
                "shop assistant", conversation_id=conversation_id, user_id=customer, project="shop", input=question
            ) as run,
            node("assistant", kind="agent") as agent,
        ):
            await self._think(f"{question} Which tool helps?", "look up order")
            state = await self._look_up_order(order_id)
            text = await self._think(f"{question} It is {state}.", f"Your order is {state or 'unknown to us'}.")
            agent.set_output(text)
            run.set_output(text)
            return Answer(text, run.trace_id)

    @node("think", kind="llm", model=PretendModel.name)
    async def _think(self, prompt: str, answer: str) -> str:
        await asyncio.sleep(0.04)
        completion = self._model.complete(prompt, answer)
        step = current_step()
        step.set_input(prompt)
        step.set_output(completion.text)
        step.tokens(input=completion.input_tokens, output=completion.output_tokens)
        return completion.text

    @node("look up order", kind="tool", capture=True)
    async def _look_up_order(self, order_id: str) -> str | None:
        return await asyncio.to_thread(self._store.state_of, order_id)
