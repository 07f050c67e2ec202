"""Changes as they happen, for whoever listens."""
