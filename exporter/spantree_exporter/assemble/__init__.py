"""`assemble`: the facts of all spans of one trace -> its execution, nodes and edges. Knows no vendor."""

from spantree_exporter.assemble.projection import assemble

__all__ = ["assemble"]
