/* OTLP protobuf -> Span: the form in which a plain span that loses nothing is sent, its fields in any order.
 *
 * Numbers are those of opentelemetry/proto/{common,trace}/v1; a field begins with its number << 3 | wire type. A part
 * that is sent twice where protobuf would merge, a wire type that is not the declared one, a varint of more than ten
 * bytes, a group, an end before the end: all UNUSUAL, and read by Python. */
#include "hot_path.h"
#include "texts.h"

typedef struct {
    const unsigned char *at;
    const unsigned char *end;
} cursor;

#define LENGTH(of) ((size_t)((of).end - (of).at))

static inline int is_at_end(const cursor *in) { return in->at >= in->end; }

static inline outcome read_varint(cursor *in, uint64_t *value) {
    uint64_t read = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (in->at >= in->end)
            return UNUSUAL;
        unsigned char byte = *in->at++;
        if (shift == 63 && byte > 1)
            return UNUSUAL;
        read |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = read;
            return DONE;
        }
    }
    return UNUSUAL;
}

static inline outcome read_tag(cursor *in, uint32_t *tag) {
    uint64_t read;
    TRY(read_varint(in, &read));
    if (read > UINT32_MAX)
        return UNUSUAL;
    *tag = (uint32_t)read;
    return DONE;
}

/* What a length-delimited field holds; `in` then stands behind it. */
static inline outcome read_content(cursor *in, cursor *content) {
    uint64_t length;
    TRY(read_varint(in, &length));
    if (length > LENGTH(*in))
        return UNUSUAL;
    content->at = in->at;
    content->end = in->at + length;
    in->at = content->end;
    return DONE;
}

static inline outcome read_fixed(cursor *in, int size, uint64_t *value) {
    if (in->end - in->at < size)
        return UNUSUAL;
    uint64_t read = 0;
    for (int i = 0; i < size; i++)
        read |= (uint64_t)in->at[i] << (8 * i);
    in->at += size;
    *value = read;
    return DONE;
}

/* What a newer sender adds is passed over, as protobuf does. */
static outcome skip_unknown(cursor *in, uint32_t tag, uint32_t last_known) {
    uint64_t ignored;
    cursor content;
    if (tag >> 3 <= last_known)
        return UNUSUAL;
    switch (tag & 7) {
    case 0: return read_varint(in, &ignored);
    case 1: return read_fixed(in, 8, &ignored);
    case 2: return read_content(in, &content);
    case 5: return read_fixed(in, 4, &ignored);
    default: return UNUSUAL;
    }
}

static inline outcome failed_if_null(PyObject *made) { return made == NULL ? FAILED : DONE; }

/* ---- values and attributes, read and written as JSON at once -------------------------------------------------------- */

/* `json` is that of the span being read: its attributes, events and links, in the order they come. Each call of
 * read_spans has its own, since a collection of garbage under way may run anything, such as another thread's call. */

#define ADD(character)                                                                                                 \
    do {                                                                                                               \
        if (buffer_add_char(json, character) < 0)                                                                     \
            return FAILED;                                                                                             \
    } while (0)
#define ADD_TEXT(text)                                                                                                 \
    do {                                                                                                               \
        if (buffer_add(json, text, sizeof(text) - 1) < 0)                                                             \
            return FAILED;                                                                                             \
    } while (0)

static outcome read_value(buffer *json, cursor in, int depth, PyObject **value);

/* Attributes while they are read: `taken` is a dict. */
typedef struct {
    PyObject *taken;
    Py_ssize_t count;
} attribute_set;

/* One KeyValue. */
static outcome add_attribute(buffer *json, attribute_set *set, cursor in, int depth) {
    PyObject *key, *value = NULL;
    cursor content = {NULL, NULL};
    if (set->count == python.max_keys)
        return UNUSUAL;
    if (set->count++)
        ADD(',');
    if (!is_at_end(&in) && *in.at == 0x0a) {
        in.at++;
        TRY(read_content(&in, &content));
    }
    TRY(read_text(content.at ? content.at : (const unsigned char *)"", LENGTH(content), TEXT_KEY, &key, json));
    content.at = content.end = in.end;
    outcome result = DONE;
    if (!is_at_end(&in)) {
        result = *in.at++ == 0x12 ? read_content(&in, &content) : UNUSUAL;
        if (result == DONE && !is_at_end(&in))
            result = UNUSUAL;
    }
    if (result == DONE)
        result = read_value(json, content, depth, &value);
    if (result == DONE && PyDict_SetItem(set->taken, key, value) < 0)
        result = FAILED;
    Py_DECREF(key);
    Py_XDECREF(value);
    return result;
}

static inline outcome begin_attributes(buffer *json, attribute_set *set) {
    set->count = 0;
    ADD('{');
    return failed_if_null(set->taken = PyDict_New());
}

static inline outcome end_attributes(buffer *json, const attribute_set *set) {
    ADD('}');
    return PyDict_GET_SIZE(set->taken) == set->count ? DONE : UNUSUAL;
}

/* A message with nothing but a repeated first field: the elements of an array or a key-value list. */
static outcome read_elements(buffer *json, cursor in, int depth, attribute_set *set, PyObject *list) {
    while (!is_at_end(&in)) {
        cursor content;
        PyObject *item;
        if (*in.at++ != 0x0a)
            return UNUSUAL;
        TRY(read_content(&in, &content));
        if (set != NULL) {
            TRY(add_attribute(json, set, content, depth));
            continue;
        }
        if (PyList_GET_SIZE(list))
            ADD(',');
        TRY(read_value(json, content, depth, &item));
        int failed = PyList_Append(list, item);
        Py_DECREF(item);
        if (failed < 0)
            return FAILED;
    }
    return DONE;
}

static outcome read_array(buffer *json, cursor in, int depth, PyObject **value) {
    ADD('[');
    PyObject *list = PyList_New(0);
    if (list == NULL)
        return FAILED;
    outcome result = read_elements(json, in, depth, NULL, list);
    if (result == DONE && buffer_add_char(json, ']') < 0)
        result = FAILED;
    if (result == DONE)
        *value = list;
    else
        Py_DECREF(list);
    return result;
}

static outcome read_key_values(buffer *json, cursor in, int depth, PyObject **value) {
    attribute_set set;
    TRY(begin_attributes(json, &set));
    outcome result = read_elements(json, in, depth, &set, NULL);
    if (result == DONE)
        result = end_attributes(json, &set);
    if (result == DONE)
        *value = set.taken;
    else
        Py_DECREF(set.taken);
    return result;
}

static outcome add_dumped(buffer *json, PyObject *value) {
    PyObject *text = PyObject_CallOneArg(python.dumps, value);
    if (text == NULL)
        return FAILED;
    int failed = PyBytes_Check(text) ? buffer_add(json, PyBytes_AS_STRING(text), (size_t)PyBytes_GET_SIZE(text)) : -1;
    Py_DECREF(text);
    if (failed < 0 && !PyErr_Occurred())
        return UNUSUAL;
    return failed < 0 ? FAILED : DONE;
}

/* By a rule of stored.py, of a value that JSON may have no form for. Takes `sent` over. */
static outcome stored_by(buffer *json, PyObject *rule, PyObject *sent, PyObject **value) {
    if (sent == NULL)
        return FAILED;
    PyObject *stored = rule == NULL ? sent : PyObject_CallOneArg(rule, sent);
    if (rule != NULL)
        Py_DECREF(sent);
    if (stored == NULL)
        return FAILED;
    outcome result = add_dumped(json, stored);
    if (result == DONE)
        *value = stored;
    else
        Py_DECREF(stored);
    return result;
}

/* An AnyValue with one field, or none. */
static outcome read_value(buffer *json, cursor in, int depth, PyObject **value) {
    cursor content = in;
    uint64_t number = 0;
    if (is_at_end(&in)) {
        ADD_TEXT("null");
        Py_INCREF(Py_None);
        *value = Py_None;
        return DONE;
    }
    unsigned char tag = *in.at++;
    switch (tag) {
    case 0x0a: case 0x2a: case 0x32: case 0x3a:
        TRY(read_content(&in, &content));
        break;
    case 0x10: case 0x18:
        TRY(read_varint(&in, &number));
        break;
    case 0x21:
        TRY(read_fixed(&in, 8, &number));
        break;
    default: return UNUSUAL;
    }
    /* One more field of the oneof: the last would count. */
    if (!is_at_end(&in))
        return UNUSUAL;
    switch (tag) {
    case 0x0a: return read_text(content.at, LENGTH(content), TEXT_VALUE, value, json);
    case 0x10:
        if (number)
            ADD_TEXT("true");
        else
            ADD_TEXT("false");
        *value = PyBool_FromLong(number != 0);
        return DONE;
    case 0x18:
        if (json_add_int(json, (int64_t)number) < 0)
            return FAILED;
        return failed_if_null(*value = PyLong_FromLongLong((int64_t)number));
    case 0x21: {
        double read;
        memcpy(&read, &number, sizeof read);
        return stored_by(json, read >= 1.0 && read < 1e15 ? NULL : python.stored_double, PyFloat_FromDouble(read), value);
    }
    case 0x3a:
        return stored_by(json, 
            python.stored_bytes, PyBytes_FromStringAndSize((const char *)content.at, (Py_ssize_t)LENGTH(content)), value);
    default:
        if (depth >= MAX_DEPTH)
            return UNUSUAL;
        return tag == 0x2a ? read_array(json, content, depth + 1, value) : read_key_values(json, content, depth + 1, value);
    }
}

/* ---- events and links --------------------------------------------------------------------------------------------- */

static outcome plain_text(cursor content, PyObject **slot) {
    Py_CLEAR(*slot);
    return read_text(content.at, LENGTH(content), TEXT_VALUE, slot, NULL);
}

static outcome hex_text(cursor content, PyObject **slot) {
    static const char digits[] = "0123456789abcdef";
    size_t length = LENGTH(content);
    if (length > 64)
        return UNUSUAL;
    char text[128];
    for (size_t i = 0; i < length; i++) {
        text[2 * i] = digits[content.at[i] >> 4];
        text[2 * i + 1] = digits[content.at[i] & 15];
    }
    Py_CLEAR(*slot);
    return failed_if_null(*slot = PyUnicode_FromStringAndSize(text, (Py_ssize_t)(2 * length)));
}

static outcome add_text(buffer *json, PyObject *text) {
    Py_ssize_t length;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &length);
    return bytes == NULL ? FAILED : json_add_text(json, bytes, (size_t)length);
}

static outcome add_int(buffer *json, int64_t value) { return json_add_int(json, value) < 0 ? FAILED : DONE; }

/* The attributes of an event or a link, which stand at different places of the JSON than of the wire: the fields are
 * looked through twice. `tag` is the byte that their fields begin with. */
static outcome read_own_attributes(buffer *json, cursor in, uint32_t tag, PyObject **attributes) {
    attribute_set set;
    outcome result;
    TRY(begin_attributes(json, &set));
    for (;;) {
        uint32_t found;
        uint64_t ignored;
        cursor content;
        if (is_at_end(&in)) {
            result = end_attributes(json, &set);
            break;
        }
        if ((result = read_tag(&in, &found)) != DONE)
            break;
        if (found == tag) {
            if ((result = read_content(&in, &content)) == DONE)
                result = add_attribute(json, &set, content, 1);
        } else {
            switch (found & 7) {
            case 0: result = read_varint(&in, &ignored); break;
            case 1: result = read_fixed(&in, 8, &ignored); break;
            case 2: result = read_content(&in, &content); break;
            case 5: result = read_fixed(&in, 4, &ignored); break;
            default: result = UNUSUAL;
            }
        }
        if (result != DONE)
            break;
    }
    if (result == DONE)
        *attributes = set.taken;
    else
        Py_DECREF(set.taken);
    return result;
}

static outcome read_event_fields(buffer *json, cursor in, PyObject **values) {
    const cursor whole = in;
    uint64_t time_ns = 0, dropped = 0;
    while (!is_at_end(&in)) {
        uint32_t tag;
        cursor content;
        TRY(read_tag(&in, &tag));
        switch (tag) {
        case 0x09: TRY(read_fixed(&in, 8, &time_ns)); break;
        case 0x12:
            TRY(read_content(&in, &content));
            TRY(plain_text(content, &values[EVENT_NAME]));
            break;
        case 0x1a: TRY(read_content(&in, &content)); break;
        case 0x20: TRY(read_varint(&in, &dropped)); break;
        default: TRY(skip_unknown(&in, tag, 4));
        }
    }
    if (time_ns > INT64_MAX)
        return UNUSUAL;
    dropped = (uint32_t)dropped;
    if (values[EVENT_NAME] == NULL) {
        Py_INCREF(python.empty_text);
        values[EVENT_NAME] = python.empty_text;
    }
    ADD_TEXT("{\"time_ns\":");
    TRY(add_int(json, (int64_t)time_ns));
    ADD_TEXT(",\"name\":");
    TRY(add_text(json, values[EVENT_NAME]));
    ADD_TEXT(",\"attributes\":");
    TRY(read_own_attributes(json, whole, 0x1a, &values[EVENT_ATTRIBUTES]));
    if (dropped) {
        ADD_TEXT(",\"dropped_attributes_count\":");
        TRY(add_int(json, (int64_t)dropped));
    }
    ADD('}');
    TRY(failed_if_null(values[EVENT_TIME_NS] = PyLong_FromLongLong((int64_t)time_ns)));
    return failed_if_null(values[EVENT_DROPPED] = PyLong_FromLongLong((int64_t)dropped));
}

static outcome read_link_fields(buffer *json, cursor in, PyObject **values) {
    const cursor whole = in;
    uint64_t flags = 0, dropped = 0;
    while (!is_at_end(&in)) {
        uint32_t tag;
        cursor content;
        TRY(read_tag(&in, &tag));
        switch (tag) {
        case 0x0a:
            TRY(read_content(&in, &content));
            TRY(hex_text(content, &values[LINK_TRACE_ID]));
            break;
        case 0x12:
            TRY(read_content(&in, &content));
            TRY(hex_text(content, &values[LINK_SPAN_ID]));
            break;
        case 0x1a:
            TRY(read_content(&in, &content));
            TRY(plain_text(content, &values[LINK_STATE]));
            break;
        case 0x22: TRY(read_content(&in, &content)); break;
        case 0x28: TRY(read_varint(&in, &dropped)); break;
        case 0x35: TRY(read_fixed(&in, 4, &flags)); break;
        default: TRY(skip_unknown(&in, tag, 6));
        }
    }
    dropped = (uint32_t)dropped;
    for (int i = LINK_TRACE_ID; i <= LINK_STATE; i++)
        if (values[i] == NULL) {
            Py_INCREF(python.empty_text);
            values[i] = python.empty_text;
        }
    ADD_TEXT("{\"trace_id\":");
    TRY(add_text(json, values[LINK_TRACE_ID]));
    ADD_TEXT(",\"span_id\":");
    TRY(add_text(json, values[LINK_SPAN_ID]));
    size_t before = json->length;
    ADD_TEXT(",\"attributes\":");
    TRY(read_own_attributes(json, whole, 0x22, &values[LINK_ATTRIBUTES]));
    if (PyDict_GET_SIZE(values[LINK_ATTRIBUTES]) == 0)
        json->length = before;
    if (PyUnicode_GET_LENGTH(values[LINK_STATE])) {
        ADD_TEXT(",\"trace_state\":");
        TRY(add_text(json, values[LINK_STATE]));
    }
    if (flags) {
        ADD_TEXT(",\"flags\":");
        TRY(add_int(json, (int64_t)flags));
    }
    if (dropped) {
        ADD_TEXT(",\"dropped_attributes_count\":");
        TRY(add_int(json, (int64_t)dropped));
    }
    ADD('}');
    TRY(failed_if_null(values[LINK_FLAGS] = PyLong_FromLongLong((int64_t)flags)));
    return failed_if_null(values[LINK_DROPPED] = PyLong_FromLongLong((int64_t)dropped));
}

typedef outcome (*field_reader)(buffer *json, cursor in, PyObject **values);

static outcome add_object(buffer *json, PyObject *list, const layout *of, field_reader read, cursor content) {
    PyObject *values[LINK_FIELDS] = {NULL}; /* no class here has more */
    outcome result = read(json, content, values);
    if (result != DONE) {
        for (Py_ssize_t i = 0; i < of->count; i++)
            Py_XDECREF(values[i]);
        return result;
    }
    PyObject *object = layout_new(of, values);
    if (object == NULL)
        return FAILED;
    int failed = PyList_Append(list, object);
    Py_DECREF(object);
    return failed < 0 ? FAILED : DONE;
}

/* ---- spans -------------------------------------------------------------------------------------------------------- */

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

static int is_zero(cursor id) {
    for (; id.at < id.end; id.at++)
        if (*id.at)
            return 0;
    return 1;
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

static PyObject *shared(PyObject *value) {
    Py_INCREF(value);
    return value;
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

/* ---- examine ------------------------------------------------------------------------------------------------------ */

/* A message of which only `bytes_tags` (length-delimited) and `varint_tag` are expected. */
static outcome check_message(cursor in, const char *bytes_tags, unsigned char varint_tag) {
    while (!is_at_end(&in)) {
        unsigned char tag = *in.at++;
        uint64_t ignored;
        cursor content;
        if (tag == varint_tag)
            TRY(read_varint(&in, &ignored));
        else if (tag && strchr(bytes_tags, tag) != NULL)
            TRY(read_content(&in, &content));
        else
            return UNUSUAL;
    }
    return DONE;
}

/* A span that begins with its two ids, as every official sender writes it, and they are valid. */
static outcome check_span(cursor sent) {
    if (LENGTH(sent) < 28 || sent.at[0] != 0x0a || sent.at[1] != 16 || sent.at[18] != 0x12 || sent.at[19] != 8)
        return UNUSUAL;
    return is_zero((cursor){sent.at + 2, sent.at + 18}) || is_zero((cursor){sent.at + 20, sent.at + 28}) ? UNUSUAL : DONE;
}

static outcome check_scope_spans(cursor in, Py_ssize_t *spans) {
    while (!is_at_end(&in)) {
        cursor content;
        switch (*in.at++) {
        case 0x0a:
            TRY(read_content(&in, &content));
            TRY(check_message(content, "\x0a\x12\x1a", 0x20));
            break;
        case 0x12:
            TRY(read_content(&in, &content));
            TRY(check_span(content));
            ++*spans;
            break;
        case 0x1a: TRY(read_content(&in, &content)); break;
        default: return UNUSUAL;
        }
    }
    return DONE;
}

static outcome check_resource_spans(cursor in, Py_ssize_t *spans) {
    while (!is_at_end(&in)) {
        cursor content;
        switch (*in.at++) {
        case 0x0a:
            TRY(read_content(&in, &content));
            TRY(check_message(content, "\x0a", 0x10));
            break;
        case 0x12:
            TRY(read_content(&in, &content));
            TRY(check_scope_spans(content, spans));
            break;
        case 0x1a: TRY(read_content(&in, &content)); break;
        default: return UNUSUAL;
        }
    }
    return DONE;
}

/* examine_body(body: bytes) -> int | None: how many spans a body has whose frames and ids are all in order. */
PyObject *examine_body(PyObject *module, PyObject *body) {
    (void)module;
    if (!PyBytes_Check(body))
        return shared(Py_None);
    const unsigned char *start = (const unsigned char *)PyBytes_AS_STRING(body);
    cursor in = {start, start + PyBytes_GET_SIZE(body)};
    Py_ssize_t spans = 0;
    while (!is_at_end(&in)) {
        cursor content;
        if (*in.at++ != 0x0a || read_content(&in, &content) != DONE || check_resource_spans(content, &spans) != DONE)
            return shared(Py_None);
    }
    return PyLong_FromSsize_t(spans);
}
