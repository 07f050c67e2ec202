/* The frames of a request and the ids of its spans, for a receiver that has to answer. */
#include "cursor.h"

static PyObject *none(void) {
    Py_INCREF(Py_None);
    return Py_None;
}

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

static outcome check_request(cursor in, Py_ssize_t *spans) {
    while (!is_at_end(&in)) {
        cursor content;
        if (*in.at++ != 0x0a)
            return UNUSUAL;
        TRY(read_content(&in, &content));
        TRY(check_resource_spans(content, spans));
    }
    return DONE;
}

/* What takes tens of microseconds at least: taking the lock back may take longer. */
#define WORTH_LETTING_GO (256 * 1024)

/* examine_body(body: bytes) -> int | None: how many spans a body has whose frames and ids are all in order. */
PyObject *examine_body(PyObject *module, PyObject *body) {
    (void)module;
    if (!PyBytes_Check(body))
        return none();
    const unsigned char *start = (const unsigned char *)PyBytes_AS_STRING(body);
    cursor in = {start, start + PyBytes_GET_SIZE(body)};
    Py_ssize_t spans = 0;
    outcome found;
    if (LENGTH(in) < WORTH_LETTING_GO)
        found = check_request(in, &spans);
    else {
        Py_BEGIN_ALLOW_THREADS
        found = check_request(in, &spans);
        Py_END_ALLOW_THREADS
    }
    return found == DONE ? PyLong_FromSsize_t(spans) : none();
}
