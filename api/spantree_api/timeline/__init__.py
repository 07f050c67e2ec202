"""Timelines: nodes and spans of one execution as columns."""
