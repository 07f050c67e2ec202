"""The command `spantree`: everything on one machine, the demo, and the tools around them."""
