"""The OTLP service: takes spans over HTTP and gRPC, acknowledges them once on disk, writes them to PostgreSQL."""
