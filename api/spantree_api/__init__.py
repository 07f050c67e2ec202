"""The HTTP API over the stored executions, its web pages, and what Jaeger and Grafana ask."""
