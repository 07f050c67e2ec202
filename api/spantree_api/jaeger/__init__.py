"""Jaeger's forms of what is stored: its storage over gRPC, and its HTTP API."""
