"""`spantree import`: files of spans, in whatever form, by the writer into the tables."""
