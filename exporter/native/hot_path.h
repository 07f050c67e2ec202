/* The compiled hot path: what the files of this folder share.
 *
 * The rules of what a span means and how it is stored have their home in Python (decode_protobuf.py, build.py, stored.py,
 * copy_binary.py). C does what is common and gives up (UNUSUAL) on everything else, which Python then reads from the very
 * same bytes. So this code needs no rule for what is lost, cut, odd or refused, only for what is plainly fine.
 *
 * Memory: input is read through a cursor that never passes its end; output goes to a buffer that checks each write;
 * nesting ends at MAX_DEPTH. Nothing is allocated by a length that the input merely claims.
 *
 * The GIL is held where rows and spans are made: nearly every step makes or reads a Python object, and the buffers and
 * the cache of texts are shared by all calls. What only reads the bytes of a body (examine.c, budget.c) lets it go.
 */
#ifndef SPANTREE_HOT_PATH_H
#define SPANTREE_HOT_PATH_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* What a step came to. FAILED: a Python exception is set. */
typedef enum { DONE = 0, UNUSUAL = 1, FAILED = 2 } outcome;

#define TRY(step)                                                                                                      \
    do {                                                                                                               \
        outcome outcome_ = (step);                                                                                     \
        if (outcome_ != DONE)                                                                                          \
            return outcome_;                                                                                           \
    } while (0)

/* ---- bytes being written (buffer.c) ------------------------------------------------------------------------------ */

typedef struct {
    char *start;
    size_t length;
    size_t capacity;
} buffer;

int buffer_grow(buffer *out, size_t more); /* 0, or -1 with MemoryError set */
void buffer_settle(buffer *out);           /* empty again; gives memory back that one huge value took */

static inline int buffer_reserve(buffer *out, size_t more) {
    return out->capacity - out->length >= more ? 0 : buffer_grow(out, more);
}

static inline int buffer_add(buffer *out, const void *bytes, size_t count) {
    if (buffer_reserve(out, count) < 0)
        return -1;
    memcpy(out->start + out->length, bytes, count);
    out->length += count;
    return 0;
}

static inline int buffer_add_char(buffer *out, char character) { return buffer_add(out, &character, 1); }

/* ---- JSON, to the byte as orjson writes it (json.c) ---------------------------------------------------------------- */

/* The text in quotes; `text` is valid UTF-8. UNUSUAL where it holds a NUL. */
outcome json_add_text(buffer *out, const char *text, size_t length);
int json_add_int(buffer *out, int64_t value);

/* ---- SHA-256 (sha256.c) ------------------------------------------------------------------------------------------- */

int sha256_has_instructions(void);
/* The first 64 bits, big-endian and signed. Only where sha256_has_instructions(). */
int64_t sha256_first_8(const unsigned char *content, size_t length);

/* ---- Python's classes and functions (module.c) -------------------------------------------------------------------- */

#define MAX_DEPTH 64

/* Where a slot of a class lies in its objects, so that reading it needs no lookup. */
typedef struct {
    PyTypeObject *type;
    Py_ssize_t *offsets;
    Py_ssize_t count;
} layout;

static inline PyObject **layout_slot(PyObject *object, Py_ssize_t offset) {
    return (PyObject **)((char *)object + offset);
}

/* The offset of slot `name` of objects of `type`; -1, no exception set, where it is no plain slot. */
Py_ssize_t layout_offset(PyTypeObject *type, PyObject *name);

enum span_field {
    TRACE_ID, SPAN_ID, PARENT_SPAN_ID, NAME, KIND, START_NS, END_NS, STATUS_CODE, STATUS_MESSAGE, FLAGS, TRACE_STATE,
    RESOURCE, SCOPE, ATTRIBUTES, ATTRIBUTES_JSON, EVENTS, EVENTS_JSON, LINKS, LINKS_JSON, DROPPED_ATTRIBUTES,
    DROPPED_EVENTS, DROPPED_LINKS, RECEIVED_NS, FINGERPRINT, RAW, ANOMALIES, SPAN_FIELDS
};
enum event_field { EVENT_TIME_NS, EVENT_NAME, EVENT_ATTRIBUTES, EVENT_DROPPED, EVENT_FIELDS };
enum link_field { LINK_TRACE_ID, LINK_SPAN_ID, LINK_STATE, LINK_ATTRIBUTES, LINK_FLAGS, LINK_DROPPED, LINK_FIELDS };
enum resource_field { RESOURCE_ID, RESOURCE_FIELDS };
enum scope_field { SCOPE_JSON, SCOPE_ATTRIBUTES, SCOPE_FIELDS };

typedef struct {
    layout span, event, link, resource, scope;
    PyObject *stored_double, *stored_bytes, *dumps, *sha256, *dollar, *empty_text;
    Py_ssize_t max_keys;
    int sha256_is_built_in;
} python_side;

extern python_side python;

/* An object with these values, all taken over; on failure they are released. `values` has `of->count` items. */
PyObject *layout_new(const layout *of, PyObject **values);

/* Whether the exception that is set may be left to Python to meet again: then it is cleared. */
int is_left_to_python(void);

/* ---- the two ends ------------------------------------------------------------------------------------------------- */

PyObject *read_spans(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *examine_body(PyObject *module, PyObject *body);
PyObject *object_units(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *span_rows(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *table_rows(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *term_lists(PyObject *module, PyObject *spans);
PyObject *merge_term_lists(PyObject *module, PyObject *parts);
PyObject *term_durations(PyObject *module, PyObject *spans);

#endif
