"""The orders service's own tables: customers with their credit, orders with what they wait for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, Text, delete, insert, select, update

CREDIT_CENTS: Final = {"ada": 500_000, "grace": 800_000, "linus": 40_000}

metadata = MetaData()
customer = Table(
    "demo_customer",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("credit_cents", Integer, nullable=False),
)
placed = Table(
    "demo_order",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("body", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("ticket", String(60), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer asks for. Prices in cents."""

    id: str
    customer: str
    items: dict[str, int]
    total_cents: int
    card: str
    express: bool = False
    gift: bool = False
    model_overloaded: bool = False


@dataclass(frozen=True, slots=True)
class WaitingOrder:
    """An order that a person must approve, and the ticket of the step that waits."""

    order: Order
    ticket: str


class OrderStore:
    """Reads and writes the tables."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def set_up(self) -> None:
        """Create the tables; known customers, no orders."""
        metadata.create_all(self._engine)
        with self._engine.begin() as connection:
            connection.execute(delete(placed))
            connection.execute(delete(customer))
            connection.execute(
                insert(customer), [{"name": name, "credit_cents": credit} for name, credit in CREDIT_CENTS.items()]
            )

    def credit_cents(self, name: str) -> int:
        """A customer's credit; 0 for one nobody knows."""
        with self._engine.connect() as connection:
            found = connection.execute(select(customer.c.credit_cents).where(customer.c.name == name)).scalar()
        return int(found or 0)

    def add(self, order: Order) -> None:
        """Write a new order down."""
        body = {
            "customer": order.customer,
            "items": order.items,
            "total_cents": order.total_cents,
            "card": order.card,
            "express": order.express,
            "gift": order.gift,
            "model_overloaded": order.model_overloaded,
        }
        with self._engine.begin() as connection:
            connection.execute(insert(placed).values(id=order.id, body=json.dumps(body), state="accepted", ticket=""))

    def set_state(self, order_id: str, state: str, ticket: str = "") -> None:
        """Move an order on."""
        with self._engine.begin() as connection:
            connection.execute(update(placed).where(placed.c.id == order_id).values(state=state, ticket=ticket))

    def take_waiting(self, order_id: str) -> WaitingOrder | None:
        """Take up an order that waits, once: None when it does not wait (any more)."""
        with self._engine.begin() as connection:
            row = connection.execute(
                select(placed.c.body, placed.c.ticket).where(placed.c.id == order_id, placed.c.state == "waiting")
            ).first()
            if row is None:
                return None
            taken = connection.execute(
                update(placed).where(placed.c.id == order_id, placed.c.state == "waiting").values(state="approved")
            )
            if taken.rowcount == 0:
                return None
        return WaitingOrder(Order(id=order_id, **json.loads(row.body)), row.ticket)

    def state_of(self, order_id: str) -> str | None:
        """Where an order stands; None when there is none."""
        with self._engine.connect() as connection:
            return connection.execute(select(placed.c.state).where(placed.c.id == order_id)).scalar()
