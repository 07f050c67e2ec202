"""What `spantree run` does in a Python process before, around and after its program."""
