/* Span.Event and Span.Link, by the numbers of opentelemetry/proto/trace/v1/trace.proto. */
#include "events.h"

outcome plain_text(cursor content, PyObject **slot) {
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

outcome read_event_fields(buffer *json, cursor in, PyObject **values) {
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
    ADD_LITERAL("{\"time_ns\":");
    TRY(add_int(json, (int64_t)time_ns));
    ADD_LITERAL(",\"name\":");
    TRY(add_text(json, values[EVENT_NAME]));
    ADD_LITERAL(",\"attributes\":");
    TRY(read_own_attributes(json, whole, 0x1a, &values[EVENT_ATTRIBUTES]));
    if (dropped) {
        ADD_LITERAL(",\"dropped_attributes_count\":");
        TRY(add_int(json, (int64_t)dropped));
    }
    ADD('}');
    TRY(failed_if_null(values[EVENT_TIME_NS] = PyLong_FromLongLong((int64_t)time_ns)));
    return failed_if_null(values[EVENT_DROPPED] = PyLong_FromLongLong((int64_t)dropped));
}

outcome read_link_fields(buffer *json, cursor in, PyObject **values) {
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
    ADD_LITERAL("{\"trace_id\":");
    TRY(add_text(json, values[LINK_TRACE_ID]));
    ADD_LITERAL(",\"span_id\":");
    TRY(add_text(json, values[LINK_SPAN_ID]));
    size_t before = json->length;
    ADD_LITERAL(",\"attributes\":");
    TRY(read_own_attributes(json, whole, 0x22, &values[LINK_ATTRIBUTES]));
    if (PyDict_GET_SIZE(values[LINK_ATTRIBUTES]) == 0)
        json->length = before;
    if (PyUnicode_GET_LENGTH(values[LINK_STATE])) {
        ADD_LITERAL(",\"trace_state\":");
        TRY(add_text(json, values[LINK_STATE]));
    }
    if (flags) {
        ADD_LITERAL(",\"flags\":");
        TRY(add_int(json, (int64_t)flags));
    }
    if (dropped) {
        ADD_LITERAL(",\"dropped_attributes_count\":");
        TRY(add_int(json, (int64_t)dropped));
    }
    ADD('}');
    TRY(failed_if_null(values[LINK_FLAGS] = PyLong_FromLongLong((int64_t)flags)));
    return failed_if_null(values[LINK_DROPPED] = PyLong_FromLongLong((int64_t)dropped));
}

outcome add_object(buffer *json, PyObject *list, const layout *of, field_reader read, cursor content) {
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
