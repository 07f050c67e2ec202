/* What a body holds, in units of a budget, by its frames alone; collector/spantree_collector/receive/object_budget.py says why,
 * and does the same in Python. Runs without the interpreter's lock. */
#include "cursor.h"

/* Numbered as in object_budget.py. */
enum message {
    REQUEST, RESOURCE_SPANS, RESOURCE_, SCOPE_SPANS, SCOPE_, SPAN_, EVENT_, LINK_, KEY_VALUE, VALUE, ARRAY, MAP,
    LOGS_REQUEST, RESOURCE_LOGS, SCOPE_LOGS, LOG_RECORD, MESSAGES
};

#define MOST_FIELDS 14
#define MOST_LEVELS 4096
#define STEPS_PER_UNIT 4

typedef struct {
    unsigned char is_message;
    unsigned char message;
    unsigned char units;
} child;

#define HOLDS(message, units) {1, message, units}

/* By the number of a field: the message in it. */
static const child children[MESSAGES][MOST_FIELDS] = {
    [REQUEST] = {[1] = HOLDS(RESOURCE_SPANS, 5)},
    [RESOURCE_SPANS] = {[1] = HOLDS(RESOURCE_, 0), [2] = HOLDS(SCOPE_SPANS, 5)},
    [RESOURCE_] = {[1] = HOLDS(KEY_VALUE, 1)},
    [SCOPE_SPANS] = {[1] = HOLDS(SCOPE_, 0), [2] = HOLDS(SPAN_, 5)},
    [SCOPE_] = {[3] = HOLDS(KEY_VALUE, 1)},
    [SPAN_] = {[9] = HOLDS(KEY_VALUE, 1), [11] = HOLDS(EVENT_, 4), [13] = HOLDS(LINK_, 4)},
    [EVENT_] = {[3] = HOLDS(KEY_VALUE, 1)},
    [LINK_] = {[4] = HOLDS(KEY_VALUE, 1)},
    [KEY_VALUE] = {[2] = HOLDS(VALUE, 0)},
    [VALUE] = {[5] = HOLDS(ARRAY, 0), [6] = HOLDS(MAP, 0)},
    [ARRAY] = {[1] = HOLDS(VALUE, 1)},
    [MAP] = {[1] = HOLDS(KEY_VALUE, 1)},
    [LOGS_REQUEST] = {[1] = HOLDS(RESOURCE_LOGS, 5)},
    [RESOURCE_LOGS] = {[1] = HOLDS(RESOURCE_, 0), [2] = HOLDS(SCOPE_LOGS, 5)},
    [SCOPE_LOGS] = {[1] = HOLDS(SCOPE_, 0), [2] = HOLDS(LOG_RECORD, 5)},
    [LOG_RECORD] = {[5] = HOLDS(VALUE, 0), [6] = HOLDS(KEY_VALUE, 1)},
};

typedef struct {
    cursor rest;
    unsigned char message;
} level;

/* A varint as protobuf's readers take it: what is beyond 64 bits is dropped, of more than ten bytes it is none. */
static outcome read_any_varint(cursor *in, uint64_t *value) {
    uint64_t read = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (in->at >= in->end)
            return UNUSUAL;
        const unsigned char byte = *in->at++;
        read |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = read;
            return DONE;
        }
    }
    return UNUSUAL;
}

/* One field of `here`. UNUSUAL: the rest of the message is malformed. `inner` is where to go on, if `found`. */
static outcome step(cursor *here, unsigned char message, const child **found, cursor *inner) {
    uint64_t tag, value;
    *found = NULL;
    TRY(read_any_varint(here, &tag));
    switch (tag & 7) {
    case 0: return read_any_varint(here, &value);
    case 1: return read_fixed(here, 8, &value);
    case 2:
        TRY(read_any_varint(here, &value));
        if (value > LENGTH(*here))
            return UNUSUAL;
        *inner = (cursor){here->at, here->at + value};
        here->at = inner->end;
        if (tag >> 3 < MOST_FIELDS && children[message][tag >> 3].is_message)
            *found = &children[message][tag >> 3];
        return DONE;
    case 3:
    case 4: return DONE; /* a group: readers pass over it and go on, so what is in it counts as if it were not */
    case 5: return read_fixed(here, 4, &value);
    default: return UNUSUAL;
    }
}

/* The units of a request; more than `most` as soon as that is sure; -1: nested too deep for this. */
static int64_t count_units(cursor body, unsigned char request, int64_t most, level *levels) {
    int64_t units = 0, steps_left = most * STEPS_PER_UNIT;
    int depth = 0;
    levels[0] = (level){body, request};
    while (depth >= 0) {
        level *here = &levels[depth];
        const child *found;
        cursor inner;
        if (is_at_end(&here->rest)) {
            depth--;
            continue;
        }
        if (--steps_left < 0)
            return most + 1;
        if (step(&here->rest, here->message, &found, &inner) != DONE) {
            depth--;
            continue;
        }
        if (found == NULL)
            continue;
        units += found->units;
        if (units > most)
            return most + 1;
        if (is_at_end(&inner))
            continue;
        if (++depth == MOST_LEVELS)
            return -1;
        levels[depth] = (level){inner, found->message};
    }
    return units;
}

/* object_units(body: bytes, logs: bool, most: int) -> int | None */
PyObject *object_units(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    if (count != 3 || !PyBytes_Check(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "wanted bytes, whether they are logs, and the most units");
        return NULL;
    }
    const int is_logs = PyObject_IsTrue(arguments[1]);
    const int64_t most = PyLong_AsLongLong(arguments[2]);
    if (is_logs < 0 || (most == -1 && PyErr_Occurred()))
        return NULL;
    level *levels = PyMem_RawMalloc(MOST_LEVELS * sizeof *levels);
    if (levels == NULL)
        return PyErr_NoMemory();
    const unsigned char *start = (const unsigned char *)PyBytes_AS_STRING(arguments[0]);
    const cursor body = {start, start + PyBytes_GET_SIZE(arguments[0])};
    int64_t units;
    Py_BEGIN_ALLOW_THREADS
    units = count_units(body, is_logs ? LOGS_REQUEST : REQUEST, most, levels);
    Py_END_ALLOW_THREADS
    PyMem_RawFree(levels);
    if (units < 0)
        Py_RETURN_NONE;
    return PyLong_FromLongLong(units);
}
