"""The durable queue between the acknowledgement and PostgreSQL."""
