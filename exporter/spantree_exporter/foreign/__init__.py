"""Other systems' files -> OTLP/JSON."""
