/* Events and links of a span. */
#ifndef SPANTREE_EVENTS_H
#define SPANTREE_EVENTS_H

#include "values.h"

/* Reads a message into `values`, of which it owns what it has put even where it ends in something else than DONE. */
typedef outcome (*field_reader)(buffer *json, cursor in, PyObject **values);

outcome read_event_fields(buffer *json, cursor in, PyObject **values);
outcome read_link_fields(buffer *json, cursor in, PyObject **values);

/* The object of class `of` that `content` is, at the end of `list` and of `json`. */
outcome add_object(buffer *json, PyObject *list, const layout *of, field_reader read, cursor content);

/* A text that stands in no JSON, in place of what `slot` has. */
outcome plain_text(cursor content, PyObject **slot);

#endif
