"""`assemble`: the facts of all spans of one trace -> its execution, nodes and edges. Knows no vendor."""

from spantree_exporter.assemble.assembly import assemble

__all__ = ["assemble"]
