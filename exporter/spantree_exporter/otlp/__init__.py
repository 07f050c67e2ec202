"""Between OTLP and stored spans and log records: bytes in, spans out, and back."""
