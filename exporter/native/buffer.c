#include "hot_path.h"

/* What is kept between calls. */
#define KEPT_BYTES (4u << 20)

int buffer_grow(buffer *out, size_t more) {
    if (more > (size_t)PY_SSIZE_T_MAX - out->length) {
        PyErr_NoMemory();
        return -1;
    }
    size_t wanted = out->length + more;
    size_t capacity = out->capacity ? out->capacity : 4096;
    while (capacity < wanted)
        capacity = capacity > (size_t)PY_SSIZE_T_MAX / 2 ? wanted : capacity * 2;
    char *start = PyMem_RawRealloc(out->start, capacity);
    if (start == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    out->start = start;
    out->capacity = capacity;
    return 0;
}

void buffer_settle(buffer *out) {
    out->length = 0;
    if (out->capacity > KEPT_BYTES) {
        PyMem_RawFree(out->start);
        out->start = NULL;
        out->capacity = 0;
    }
}
