"""The warehouse: knows what is on its shelves and sets goods aside. `python -m spantree_deploy.demo.inventory`."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import FastAPI, HTTPException, Query
from pydantic import BaseModel, Field
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, create_engine, delete, insert, select, update

from spantree_deploy.demo import serving, telemetry
from spantree_exporter.tracing import node

SHELVES: Final = {"tea": "A1", "teapot": "B4", "cup": "B5", "samovar": "C9"}
FULL: Final = 1_000

metadata = MetaData()
stock = Table(
    "demo_stock",
    metadata,
    Column("sku", String(40), primary_key=True),
    Column("on_hand", Integer, nullable=False),
)


class Reservation(BaseModel):
    """Goods to set aside for an order."""

    order_id: str
    sku: str
    count: int = Field(gt=0)


def create_app(engine: Engine) -> FastAPI:
    """The service over a database that `restock` has filled."""
    app = FastAPI(title="spantree demo: inventory")

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/stock")
    def on_hand(sku: Annotated[list[str], Query()]) -> dict[str, int]:
        with engine.connect() as connection:
            rows = connection.execute(select(stock.c.sku, stock.c.on_hand).where(stock.c.sku.in_(sku)))
            return {row.sku: row.on_hand for row in rows}

    @app.post("/reservations", status_code=201)
    def reserve(reservation: Reservation) -> dict[str, str]:
        with node("find shelf", input=reservation.sku) as step:
            shelf = SHELVES.get(reservation.sku)
            step.set_output(shelf)
        if shelf is None:
            raise HTTPException(404, f"no shelf holds {reservation.sku!r}")
        with node("take from shelf", depends_on=[step], input={"shelf": shelf, "count": reservation.count}):
            take(engine, reservation.sku, reservation.count)
        return {"shelf": shelf}

    return app


def take(engine: Engine, sku: str, count: int) -> None:
    """Lower the stock; 409 when there is not enough."""
    enough = stock.c.on_hand >= count
    with engine.begin() as connection:
        taken = connection.execute(
            update(stock).where(stock.c.sku == sku, enough).values(on_hand=stock.c.on_hand - count)
        )
        if taken.rowcount == 0:
            raise HTTPException(409, f"fewer than {count} of {sku!r} on hand")


def restock(engine: Engine) -> None:
    """Create the table and fill every shelf."""
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(delete(stock))
        connection.execute(insert(stock), [{"sku": sku, "on_hand": FULL} for sku in SHELVES])


def main() -> None:
    """Serve until told to stop."""
    given = serving.options("spantree_deploy.demo.inventory", "The warehouse of the spantree demo.").parse_args()
    listener = serving.listen(given.host, given.port)
    engine = create_engine(serving.engine_url(given.database_url))
    restock(engine)
    telemetry.configure("inventory")
    app = create_app(engine)
    telemetry.instrument(app, engine)
    serving.serve(app, listener)


if __name__ == "__main__":
    main()
