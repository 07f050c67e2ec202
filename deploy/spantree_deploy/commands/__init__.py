"""The commands of `spantree`, a module for each group. They print; what they print is made elsewhere."""
