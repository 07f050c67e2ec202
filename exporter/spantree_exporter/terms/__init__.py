"""What spans are found by: terms, in segments that are merged."""
