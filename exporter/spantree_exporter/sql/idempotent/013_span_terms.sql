-- Whose making and layout these are has moved since the migrations that made them.

COMMENT ON TABLE spantree.span_terms IS 'the terms of spans that were written together, for searches by attributes (exporter, terms/of_span.py); what it says may match, the spans decide';
COMMENT ON COLUMN spantree.span_terms.lists IS 'which of the spans have which term, were sent by which resource, took how long, and of which trace they are (exporter, terms/segment.py)';
