"""Requests in: ports, limits, whose they are, what is in them. Nothing here knows PostgreSQL."""
