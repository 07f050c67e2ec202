"""`read_facts`: one span of any convention -> facts in the neutral vocabulary. One module a convention."""

from spantree_exporter.facts.registry import CONVENTIONS, FactsReader, read_facts
from spantree_exporter.facts.vocabulary import Facts

__all__ = ["CONVENTIONS", "Facts", "FactsReader", "read_facts"]
