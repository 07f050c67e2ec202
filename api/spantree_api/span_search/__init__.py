"""Searches of spans, as Jaeger, Tempo and Grafana make them."""
