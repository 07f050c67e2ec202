"""A small but real pair of services to look at: `orders` (FastAPI, SQLAlchemy, httpx) and `inventory`, which it calls.

Web, database and HTTP spans come from the official instrumentations, the workflow's own steps from
``spantree_exporter.tracing``, and all of it leaves over OTLP. Nothing in here knows spantree's collector or API: any
OTLP endpoint will do. `services` starts both, `scenario` plays a shop's afternoon on them.
"""
