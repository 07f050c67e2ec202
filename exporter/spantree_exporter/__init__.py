"""The model of spantree: spans -> facts -> executions, nodes and edges -> PostgreSQL."""
