"""The embedded PostgreSQL: programs, cluster, account, server."""
