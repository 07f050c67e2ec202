"""Failures: reports of one, groups of equal ones, and errors that are known."""
