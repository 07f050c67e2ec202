"""Out of the spool into PostgreSQL: processes that decode, write and project."""
