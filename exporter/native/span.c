/* Span, its fields in any order, by the numbers of opentelemetry/proto/trace/v1/trace.proto: the form in which a plain span
 * that loses nothing is sent. What protobuf would merge, since it is sent twice, is UNUSUAL. */
#include "events.h"

/* What all spans of a call share. */
typedef struct {
    PyObject *resource, *scope, *received_ns;
    int64_t resource_id;
    const char *scope_json;
    size_t scope_json_length;
} envelope;

/* A stretch of `json`. */
typedef struct {
    size_t start, length;
} part;

typedef struct {
    cursor trace_id, span_id, parent_span_id, name, status_message, trace_state;
    uint64_t kind, start_ns, end_ns, status_code, flags;
    uint64_t dropped_attributes, dropped_events, dropped_links;
    part attributes_json, events_json, links_json;
} sent_span;

static buffer content_hashed;

static inline char *put_32(char *at, uint32_t value) {
    for (int i = 0; i < 4; i++)
        at[i] = (char)(value >> (24 - 8 * i));
    return at + 4;
}

static inline char *put_64(char *at, uint64_t value) { return put_32(put_32(at, (uint32_t)(value >> 32)), (uint32_t)value); }

static int64_t int64_of_id(cursor id) {
    uint64_t read = 0;
    for (int i = 0; i < 8; i++)
        read = read << 8 | id.at[i];
    return (int64_t)read;
}

static outcome python_hash(int64_t *hash) {
    PyObject *made = NULL, *digest = NULL;
    PyObject *content = PyBytes_FromStringAndSize(content_hashed.start, (Py_ssize_t)content_hashed.length);
    if (content != NULL)
        made = PyObject_CallOneArg(python.sha256, content);
    if (made != NULL)
        digest = PyObject_CallMethod(made, "digest", NULL);
    outcome result = FAILED;
    if (digest != NULL && PyBytes_Check(digest) && PyBytes_GET_SIZE(digest) == 32) {
        const unsigned char *start = (const unsigned char *)PyBytes_AS_STRING(digest);
        *hash = int64_of_id((cursor){start, start + 8});
        result = DONE;
    } else if (digest != NULL) {
        result = UNUSUAL;
    }
    Py_XDECREF(content);
    Py_XDECREF(made);
    Py_XDECREF(digest);
    return result;
}

/* build.fingerprint, of a span whose bytes are not kept. */
static outcome fingerprint(buffer *json, const sent_span *sent, const envelope *shared, int64_t parent, int64_t *hash) {
    char fixed[56];
    char *at = put_64(put_64(fixed, (uint64_t)parent), (uint64_t)shared->resource_id);
    at = put_32(put_32(at, (uint32_t)sent->kind), (uint32_t)sent->status_code);
    at = put_64(put_64(at, sent->start_ns), sent->end_ns);
    at = put_32(put_32(at, (uint32_t)sent->flags), (uint32_t)sent->dropped_attributes);
    put_32(put_32(at, (uint32_t)sent->dropped_events), (uint32_t)sent->dropped_links);
    const struct {
        const void *bytes;
        size_t length;
    } parts[] = {
        {fixed, sizeof fixed},
        {sent->name.at, LENGTH(sent->name)},
        {sent->status_message.at, LENGTH(sent->status_message)},
        {sent->trace_state.at, LENGTH(sent->trace_state)},
        {shared->scope_json, shared->scope_json_length},
        {json->start + sent->events_json.start, sent->events_json.length},
        {json->start + sent->links_json.start, sent->links_json.length},
        {json->start + sent->attributes_json.start, sent->attributes_json.length},
        {"", 0},
    };
    content_hashed.length = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (i && buffer_add_char(&content_hashed, 0) < 0)
            return FAILED;
        if (parts[i].length && buffer_add(&content_hashed, parts[i].bytes, parts[i].length) < 0)
            return FAILED;
    }
    if (!python.sha256_is_built_in)
        return python_hash(hash);
    *hash = sha256_first_8((const unsigned char *)content_hashed.start, content_hashed.length);
    return DONE;
}

static outcome read_status(cursor in, sent_span *sent) {
    while (!is_at_end(&in)) {
        uint32_t tag;
        TRY(read_tag(&in, &tag));
        switch (tag) {
        case 0x12: TRY(read_content(&in, &sent->status_message)); break;
        case 0x18: TRY(read_varint(&in, &sent->status_code)); break;
        default: TRY(skip_unknown(&in, tag, 3));
        }
    }
    return DONE;
}

/* Repeated fields that stand together, as every sender writes them; `in` is behind the first tag. */
#define EACH(in, of_tag, content, body)                                                                                \
    for (;;) {                                                                                                         \
        TRY(read_content(in, &(content)));                                                                             \
        body;                                                                                                          \
        if (is_at_end(in) || *(in)->at != (of_tag))                                                                    \
            break;                                                                                                     \
        (in)->at++;                                                                                                    \
    }

static outcome read_attribute_fields(buffer *json, cursor *in, sent_span *sent, PyObject **values) {
    attribute_set set;
    cursor content;
    if (sent->attributes_json.length)
        return UNUSUAL;
    sent->attributes_json.start = json->length;
    TRY(begin_attributes(json, &set));
    values[ATTRIBUTES] = set.taken;
    EACH(in, 0x4a, content, TRY(add_attribute(json, &set, content, 1)));
    TRY(end_attributes(json, &set));
    sent->attributes_json.length = json->length - sent->attributes_json.start;
    return DONE;
}

static outcome read_objects(buffer *json, cursor *in, unsigned char tag, const layout *of, field_reader read, PyObject *list, part *text) {
    cursor content;
    if (text->length)
        return UNUSUAL;
    text->start = json->length;
    ADD('[');
    EACH(in, tag, content, {
        if (PyList_GET_SIZE(list))
            ADD(',');
        TRY(add_object(json, list, of, read, content));
    });
    ADD(']');
    text->length = json->length - text->start;
    return DONE;
}

static outcome read_span_fields(buffer *json, cursor in, sent_span *sent, PyObject **values) {
    int has_status = 0;
    while (!is_at_end(&in)) {
        uint32_t tag;
        cursor content;
        TRY(read_tag(&in, &tag));
        switch (tag) {
        case 0x0a: TRY(read_content(&in, &sent->trace_id)); break;
        case 0x12: TRY(read_content(&in, &sent->span_id)); break;
        case 0x1a: TRY(read_content(&in, &sent->trace_state)); break;
        case 0x22: TRY(read_content(&in, &sent->parent_span_id)); break;
        case 0x2a: TRY(read_content(&in, &sent->name)); break;
        case 0x30: TRY(read_varint(&in, &sent->kind)); break;
        case 0x39: TRY(read_fixed(&in, 8, &sent->start_ns)); break;
        case 0x41: TRY(read_fixed(&in, 8, &sent->end_ns)); break;
        case 0x4a: TRY(read_attribute_fields(json, &in, sent, values)); break;
        case 0x50: TRY(read_varint(&in, &sent->dropped_attributes)); break;
        case 0x5a:
            TRY(read_objects(json, &in, 0x5a, &python.event, read_event_fields, values[EVENTS], &sent->events_json));
            break;
        case 0x60: TRY(read_varint(&in, &sent->dropped_events)); break;
        case 0x6a:
            TRY(read_objects(json, &in, 0x6a, &python.link, read_link_fields, values[LINKS], &sent->links_json));
            break;
        case 0x70: TRY(read_varint(&in, &sent->dropped_links)); break;
        case 0x7a:
            if (has_status++)
                return UNUSUAL;
            TRY(read_content(&in, &content));
            TRY(read_status(content, sent));
            break;
        case 0x85: TRY(read_fixed(&in, 4, &sent->flags)); break;
        default: TRY(skip_unknown(&in, tag, 16));
        }
    }
    return DONE;
}

static outcome part_bytes(buffer *json, part of, PyObject **slot) {
    if (of.length == 0) {
        Py_INCREF(Py_None);
        *slot = Py_None;
        return DONE;
    }
    return failed_if_null(*slot = PyBytes_FromStringAndSize(json->start + of.start, (Py_ssize_t)of.length));
}

static outcome fill(PyObject **slot, PyObject *value) {
    *slot = value;
    return failed_if_null(value);
}

static outcome read_span(buffer *json, cursor in, const envelope *from, PyObject **values) {
    sent_span sent = {0};
    int64_t parent = 0, hash;
    json->length = 0;
    TRY(fill(&values[EVENTS], PyList_New(0)));
    TRY(fill(&values[LINKS], PyList_New(0)));
    TRY(read_span_fields(json, in, &sent, values));
    if (values[ATTRIBUTES] == NULL) {
        attribute_set none;
        sent.attributes_json.start = json->length;
        TRY(begin_attributes(json, &none));
        values[ATTRIBUTES] = none.taken;
        TRY(end_attributes(json, &none));
        sent.attributes_json.length = 2;
    }
    sent.kind = (uint32_t)sent.kind;
    sent.status_code = (uint32_t)sent.status_code;
    sent.dropped_attributes = (uint32_t)sent.dropped_attributes;
    sent.dropped_events = (uint32_t)sent.dropped_events;
    sent.dropped_links = (uint32_t)sent.dropped_links;
    if (LENGTH(sent.trace_id) != 16 || LENGTH(sent.span_id) != 8 || is_zero(sent.trace_id) || is_zero(sent.span_id))
        return UNUSUAL;
    if (LENGTH(sent.parent_span_id) != 0) {
        if (LENGTH(sent.parent_span_id) != 8)
            return UNUSUAL;
        parent = int64_of_id(sent.parent_span_id);
    }
    /* Beyond bigint; and odd times, which build.seal has words for. */
    if (sent.start_ns > INT64_MAX || sent.end_ns > INT64_MAX || sent.start_ns == 0 ||
        (sent.end_ns > 0 && sent.end_ns < sent.start_ns))
        return UNUSUAL;
    TRY(plain_text(sent.name, &values[NAME]));
    TRY(plain_text(sent.status_message, &values[STATUS_MESSAGE]));
    TRY(plain_text(sent.trace_state, &values[TRACE_STATE]));
    TRY(fingerprint(json, &sent, from, parent, &hash));
    TRY(fill(&values[TRACE_ID], PyBytes_FromStringAndSize((const char *)sent.trace_id.at, 16)));
    TRY(fill(&values[SPAN_ID], PyLong_FromLongLong(int64_of_id(sent.span_id))));
    TRY(fill(&values[PARENT_SPAN_ID], parent ? PyLong_FromLongLong(parent) : shared(Py_None)));
    TRY(fill(&values[KIND], PyLong_FromLong((int32_t)sent.kind)));
    TRY(fill(&values[START_NS], PyLong_FromLongLong((int64_t)sent.start_ns)));
    TRY(fill(&values[END_NS], PyLong_FromLongLong((int64_t)sent.end_ns)));
    TRY(fill(&values[STATUS_CODE], PyLong_FromLong((int32_t)sent.status_code)));
    TRY(fill(&values[FLAGS], PyLong_FromLongLong((int64_t)sent.flags)));
    TRY(fill(&values[RESOURCE], shared(from->resource)));
    TRY(fill(&values[SCOPE], shared(from->scope)));
    TRY(part_bytes(json, sent.attributes_json, &values[ATTRIBUTES_JSON]));
    TRY(part_bytes(json, sent.events_json, &values[EVENTS_JSON]));
    TRY(part_bytes(json, sent.links_json, &values[LINKS_JSON]));
    TRY(fill(&values[DROPPED_ATTRIBUTES], PyLong_FromLongLong((int64_t)sent.dropped_attributes)));
    TRY(fill(&values[DROPPED_EVENTS], PyLong_FromLongLong((int64_t)sent.dropped_events)));
    TRY(fill(&values[DROPPED_LINKS], PyLong_FromLongLong((int64_t)sent.dropped_links)));
    TRY(fill(&values[RECEIVED_NS], shared(from->received_ns)));
    TRY(fill(&values[FINGERPRINT], PyLong_FromLongLong(hash)));
    TRY(fill(&values[RAW], shared(Py_None)));
    return fill(&values[ANOMALIES], PyList_New(0));
}

/* A Span, None where `sent` is unusual, NULL where an exception is set. */
static PyObject *span_or_none(buffer *json, PyObject *sent, const envelope *from) {
    PyObject *values[SPAN_FIELDS] = {NULL};
    const unsigned char *start = (const unsigned char *)PyBytes_AS_STRING(sent);
    outcome result = read_span(json, (cursor){start, start + PyBytes_GET_SIZE(sent)}, from, values);
    if (result == DONE)
        return layout_new(&python.span, values);
    for (int i = 0; i < SPAN_FIELDS; i++)
        Py_XDECREF(values[i]);
    if (result == FAILED && !is_left_to_python())
        return NULL;
    return shared(Py_None);
}

/* read_spans(sent: list[bytes], resource, scope, received_ns) -> list[Span | None] */
PyObject *read_spans(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    if (count != 4 || !PyList_Check(arguments[0]) || Py_TYPE(arguments[1]) != python.resource.type ||
        Py_TYPE(arguments[2]) != python.scope.type || !PyLong_Check(arguments[3])) {
        PyErr_SetString(PyExc_TypeError, "wanted read_spans(sent: list[bytes], resource, scope, received_ns: int)");
        return NULL;
    }
    PyObject *sent = arguments[0];
    envelope from = {arguments[1], arguments[2], arguments[3], 0, NULL, 0};
    PyObject *id = *layout_slot(from.resource, python.resource.offsets[RESOURCE_ID]);
    PyObject *scope_json = *layout_slot(from.scope, python.scope.offsets[SCOPE_JSON]);
    if (id == NULL || !PyLong_Check(id) || scope_json == NULL || (scope_json != Py_None && !PyBytes_Check(scope_json))) {
        PyErr_SetString(PyExc_TypeError, "a resource's id is an int, a scope's json is bytes or None");
        return NULL;
    }
    from.resource_id = PyLong_AsLongLong(id);
    if (from.resource_id == -1 && PyErr_Occurred())
        return NULL;
    if (scope_json != Py_None) {
        from.scope_json = PyBytes_AS_STRING(scope_json);
        from.scope_json_length = (size_t)PyBytes_GET_SIZE(scope_json);
    }
    Py_INCREF(scope_json);
    static buffer spare;
    buffer own = spare;
    memset(&spare, 0, sizeof spare);
    PyObject *spans = PyList_New(0);
    for (Py_ssize_t i = 0; spans != NULL && i < PyList_GET_SIZE(sent); i++) {
        PyObject *one = PyList_GET_ITEM(sent, i);
        Py_INCREF(one);
        PyObject *span = PyBytes_Check(one) ? span_or_none(&own, one, &from) : shared(Py_None);
        Py_DECREF(one);
        if (span == NULL || PyList_Append(spans, span) < 0)
            Py_CLEAR(spans);
        Py_XDECREF(span);
    }
    Py_DECREF(scope_json);
    buffer_settle(&own);
    buffer_settle(&content_hashed);
    PyMem_RawFree(spare.start);
    spare = own;
    return spans;
}
