"""`spantree mcp`: the API as tools for an assistant."""
