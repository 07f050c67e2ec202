/* Terms of spans, as span_terms.py tells them: CRC-32 of what a span is found by, each with the unit that has it.
 *
 * A number that int64 does not hold, or anything else that span_terms.py does not meet every day, is UNUSUAL. */
#include "hot_path.h"

#define VALUE_CHARS 200
#define UNIT_BITS 16
#define TERM_BYTES 4
#define UNIT_BYTES 2
#define ERROR_CODE 2
#define MULTIPLIER 2654435761u

/* ---- CRC-32 of zlib, four bytes at a time ------------------------------------------------------------------------- */

static uint32_t table[4][256];

static void make_table(void) {
    if (table[0][1])
        return;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        table[0][i] = c;
    }
    for (int more = 1; more < 4; more++)
        for (int i = 0; i < 256; i++)
            table[more][i] = table[0][table[more - 1][i] & 255] ^ (table[more - 1][i] >> 8);
}

static uint32_t crc_add(uint32_t crc, const char *bytes, size_t length) {
    const unsigned char *at = (const unsigned char *)bytes;
    for (; length >= 4; length -= 4, at += 4) {
        crc ^= (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        crc = table[3][crc & 255] ^ table[2][crc >> 8 & 255] ^ table[1][crc >> 16 & 255] ^ table[0][crc >> 24];
    }
    while (length--)
        crc = table[0][(crc ^ *at++) & 255] ^ (crc >> 8);
    return crc;
}

/* ---- postings ----------------------------------------------------------------------------------------------------- */

static outcome add_posting(buffer *out, uint32_t crc, uint64_t unit) {
    uint64_t posting = (uint64_t)(crc ^ 0xFFFFFFFFu) << UNIT_BITS | unit;
    return buffer_add(out, &posting, sizeof posting) < 0 ? FAILED : DONE;
}

static outcome crc_of_text(uint32_t *crc, PyObject *text) {
    if (!PyUnicode_Check(text))
        return UNUSUAL;
    Py_ssize_t length;
    const char *bytes;
    if (PyUnicode_GET_LENGTH(text) <= VALUE_CHARS) {
        if ((bytes = PyUnicode_AsUTF8AndSize(text, &length)) == NULL)
            return FAILED;
        *crc = crc_add(*crc, bytes, (size_t)length);
        return DONE;
    }
    PyObject *beginning = PyUnicode_Substring(text, 0, VALUE_CHARS);
    if (beginning == NULL)
        return FAILED;
    outcome result = crc_of_text(crc, beginning);
    Py_DECREF(beginning);
    return result;
}

static outcome crc_of_value(uint32_t *crc, PyObject *value) {
    char digits[32];
    if (PyUnicode_CheckExact(value))
        return crc_of_text(crc, value);
    if (PyBool_Check(value)) {
        *crc = value == Py_True ? crc_add(*crc, "true", 4) : crc_add(*crc, "false", 5);
        return DONE;
    }
    if (PyLong_CheckExact(value)) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (overflow)
            return UNUSUAL;
        *crc = crc_add(*crc, digits, (size_t)snprintf(digits, sizeof digits, "%lld", number));
        return DONE;
    }
    if (PyFloat_CheckExact(value)) {
        double number = PyFloat_AS_DOUBLE(value);
        if (!(number > -1e16 && number < 1e16))
            return UNUSUAL;
        if (number == (double)(long long)number) {
            *crc = crc_add(*crc, digits, (size_t)snprintf(digits, sizeof digits, "%lld", (long long)number));
            return DONE;
        }
        char *shortest = PyOS_double_to_string(number, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
        if (shortest == NULL)
            return FAILED;
        *crc = crc_add(*crc, shortest, strlen(shortest));
        PyMem_Free(shortest);
        return DONE;
    }
    if (value != Py_None && !PyList_CheckExact(value) && !PyDict_CheckExact(value))
        return UNUSUAL;
    *crc = crc_add(*crc, "\0", 1);
    return DONE;
}

static outcome add_attributes(buffer *out, PyObject *attributes, uint64_t unit) {
    PyObject *key, *value;
    Py_ssize_t place = 0;
    if (!PyDict_CheckExact(attributes))
        return UNUSUAL;
    /* Nothing below runs Python code, so the dict stays as it is. */
    while (PyDict_Next(attributes, &place, &key, &value)) {
        uint32_t crc = 0xFFFFFFFFu;
        Py_ssize_t length;
        const char *bytes = PyUnicode_Check(key) ? PyUnicode_AsUTF8AndSize(key, &length) : NULL;
        if (bytes == NULL)
            return PyErr_Occurred() ? FAILED : UNUSUAL;
        crc = crc_add(crc, bytes, (size_t)length);
        crc = crc_add(crc, "\0", 1);
        TRY(crc_of_value(&crc, value));
        TRY(add_posting(out, crc, unit));
    }
    return DONE;
}

static outcome add_all_of(buffer *out, PyObject *items, const layout *of, int field, uint64_t unit) {
    if (!PyList_CheckExact(items))
        return UNUSUAL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        PyObject *attributes = Py_TYPE(item) == of->type ? *layout_slot(item, of->offsets[field]) : NULL;
        if (attributes == NULL)
            return UNUSUAL;
        TRY(add_attributes(out, attributes, unit));
    }
    return DONE;
}

static outcome add_terms(buffer *out, PyObject *span, PyObject *place) {
    if (Py_TYPE(span) != python.span.type || !PyLong_CheckExact(place))
        return UNUSUAL;
    long unit = PyLong_AsLong(place);
    if (unit < 0 || unit >= 1 << UNIT_BITS) {
        PyErr_Clear();
        return UNUSUAL;
    }
    PyObject *values[SPAN_FIELDS];
    for (int i = 0; i < SPAN_FIELDS; i++)
        if ((values[i] = *layout_slot(span, python.span.offsets[i])) == NULL)
            return UNUSUAL;
    PyObject *scope = values[SCOPE];
    PyObject *of_scope = Py_TYPE(scope) == python.scope.type ? *layout_slot(scope, python.scope.offsets[SCOPE_ATTRIBUTES]) : NULL;
    if (of_scope == NULL || !PyLong_CheckExact(values[STATUS_CODE]))
        return UNUSUAL;
    uint32_t crc = crc_add(0xFFFFFFFFu, "\0name\0", 6);
    TRY(crc_of_text(&crc, values[NAME]));
    TRY(add_posting(out, crc, (uint64_t)unit));
    int overflow;
    if (PyLong_AsLongAndOverflow(values[STATUS_CODE], &overflow) == ERROR_CODE)
        TRY(add_posting(out, crc_add(0xFFFFFFFFu, "\0error\0", 7), (uint64_t)unit));
    TRY(add_attributes(out, values[ATTRIBUTES], (uint64_t)unit));
    TRY(add_attributes(out, of_scope, (uint64_t)unit));
    TRY(add_all_of(out, values[EVENTS], &python.event, EVENT_ATTRIBUTES, (uint64_t)unit));
    return add_all_of(out, values[LINKS], &python.link, LINK_ATTRIBUTES, (uint64_t)unit);
}

/* By 12 bits four times: 48 bits are a posting. `other` is as large as `postings`, and the result is in `postings`. */
static void sort_postings(uint64_t *postings, uint64_t *other, size_t count) {
    for (int shift = 0; shift < 48; shift += 12) {
        size_t places[4096] = {0}, place = 0;
        for (size_t i = 0; i < count; i++)
            places[postings[i] >> shift & 4095]++;
        for (size_t i = 0; i < 4096; i++) {
            size_t here = places[i];
            places[i] = place;
            place += here;
        }
        for (size_t i = 0; i < count; i++)
            other[places[postings[i] >> shift & 4095]++] = postings[i];
        uint64_t *swapped = postings;
        postings = other;
        other = swapped;
    }
}

static void put_little(char *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        at[i] = (char)(value >> (8 * i));
}

/* (terms, their units, how many terms differ) of sorted postings, each once. */
static PyObject *columns_of(const uint64_t *postings, size_t count) {
    size_t once = 0, distinct = 0;
    for (size_t i = 0; i < count; i++) {
        once += i == 0 || postings[i] != postings[i - 1];
        distinct += i == 0 || postings[i] >> UNIT_BITS != postings[i - 1] >> UNIT_BITS;
    }
    PyObject *terms = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(TERM_BYTES * once));
    PyObject *units = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(UNIT_BYTES * once));
    PyObject *columns = NULL;
    if (terms != NULL && units != NULL) {
        char *term = PyBytes_AS_STRING(terms), *unit = PyBytes_AS_STRING(units);
        for (size_t i = 0; i < count; i++) {
            if (i && postings[i] == postings[i - 1])
                continue;
            put_little(term, postings[i] >> UNIT_BITS, TERM_BYTES);
            put_little(unit, postings[i] & ((1 << UNIT_BITS) - 1), UNIT_BYTES);
            term += TERM_BYTES;
            unit += UNIT_BYTES;
        }
        columns = Py_BuildValue("(OOn)", terms, units, (Py_ssize_t)distinct);
    }
    Py_XDECREF(terms);
    Py_XDECREF(units);
    return columns;
}

/* term_postings(spans, units) -> (terms, units, distinct terms) | None, the postings of all spans, sorted. */
PyObject *term_postings(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    if (count != 2 || !PyList_CheckExact(arguments[0]) || !PyList_CheckExact(arguments[1]) ||
        PyList_GET_SIZE(arguments[0]) != PyList_GET_SIZE(arguments[1]))
        Py_RETURN_NONE;
    make_table();
    buffer out = {0};
    outcome result = DONE;
    for (Py_ssize_t i = 0; result == DONE && i < PyList_GET_SIZE(arguments[0]); i++)
        result = add_terms(&out, PyList_GET_ITEM(arguments[0], i), PyList_GET_ITEM(arguments[1], i));
    PyObject *columns = NULL;
    if (result == DONE) {
        size_t postings = out.length / sizeof(uint64_t);
        uint64_t *other = PyMem_RawMalloc(out.length ? out.length : 1);
        if (other == NULL) {
            PyErr_NoMemory();
        } else {
            sort_postings((uint64_t *)(void *)out.start, other, postings);
            columns = columns_of((uint64_t *)(void *)out.start, postings);
            PyMem_RawFree(other);
        }
    } else if (result == UNUSUAL || is_left_to_python()) {
        Py_INCREF(Py_None);
        columns = Py_None;
    }
    PyMem_RawFree(out.start);
    return columns;
}

/* term_filter(terms, size) -> bytes | None: two bits for each term, among `size` bytes. */
PyObject *term_filter(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    if (count != 2 || !PyBytes_CheckExact(arguments[0]) || !PyLong_CheckExact(arguments[1]))
        Py_RETURN_NONE;
    Py_ssize_t size = PyLong_AsSsize_t(arguments[1]);
    if (size <= 0) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    PyObject *filter = PyBytes_FromStringAndSize(NULL, size);
    if (filter == NULL)
        return NULL;
    char *bytes = PyBytes_AS_STRING(filter);
    memset(bytes, 0, (size_t)size);
    const unsigned char *at = (const unsigned char *)PyBytes_AS_STRING(arguments[0]);
    uint64_t bits = 8 * (uint64_t)size;
    for (Py_ssize_t i = 0; i + TERM_BYTES <= PyBytes_GET_SIZE(arguments[0]); i += TERM_BYTES) {
        uint32_t term = (uint32_t)at[i] | (uint32_t)at[i + 1] << 8 | (uint32_t)at[i + 2] << 16 | (uint32_t)at[i + 3] << 24;
        uint64_t places[] = {term % bits, (uint32_t)(term * MULTIPLIER) % bits};
        for (int which = 0; which < 2; which++)
            bytes[places[which] >> 3] = (char)(bytes[places[which] >> 3] | 1 << (places[which] & 7));
    }
    return filter;
}
