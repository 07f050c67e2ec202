"""Alerts: what rules find, and the messages about it, delivered."""
