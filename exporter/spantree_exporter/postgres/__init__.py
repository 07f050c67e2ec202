"""PostgreSQL: everything that writes rows or keeps the schema."""
