/* Attributes and their values, read and written as JSON at once. */
#ifndef SPANTREE_VALUES_H
#define SPANTREE_VALUES_H

#include "cursor.h"
#include "texts.h"

/* `json` is that of the span being read: its attributes, events and links, in the order they come. Each call of
 * read_spans has its own, since a collection of garbage under way may run anything, such as another thread's call. */

#define ADD(character)                                                                                                 \
    do {                                                                                                               \
        if (buffer_add_char(json, character) < 0)                                                                     \
            return FAILED;                                                                                             \
    } while (0)
#define ADD_LITERAL(text)                                                                                                 \
    do {                                                                                                               \
        if (buffer_add(json, text, sizeof(text) - 1) < 0)                                                             \
            return FAILED;                                                                                             \
    } while (0)

static inline outcome failed_if_null(PyObject *made) { return made == NULL ? FAILED : DONE; }

static inline PyObject *shared(PyObject *value) {
    Py_INCREF(value);
    return value;
}

/* Attributes while they are read: `taken` is a dict. */
typedef struct {
    PyObject *taken;
    Py_ssize_t count;
} attribute_set;

/* One KeyValue; `depth` is 1 where nothing is around it. */
outcome add_attribute(buffer *json, attribute_set *set, cursor in, int depth);

static inline outcome begin_attributes(buffer *json, attribute_set *set) {
    set->count = 0;
    ADD('{');
    return failed_if_null(set->taken = PyDict_New());
}

static inline outcome end_attributes(buffer *json, const attribute_set *set) {
    ADD('}');
    return PyDict_GET_SIZE(set->taken) == set->count ? DONE : UNUSUAL;
}

#endif
