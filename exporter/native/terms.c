/* Terms of spans, as terms/of_span.py tells them: CRC-32 of what a span is found by, each with the spans that have it, and
 * spans by how long they took, as terms/segment.py stores them.
 *
 * A number that int64 does not hold, or anything else that terms/of_span.py does not meet every day, is UNUSUAL. */
#include "hot_path.h"

#define VALUE_CHARS 200
#define SPAN_BITS 16
#define TERM_BYTES 4
#define SPAN_BYTES 2
#define ENTRIES_EACH 128
#define BUCKETS_MAX 256
#define OCTAVES 54
#define ERROR_CODE 2

/* ---- CRC-32 of zlib, eight bytes at a time ------------------------------------------------------------------------ */

static uint32_t table[8][256];

static void make_table(void) {
    if (table[0][1])
        return;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        table[0][i] = c;
    }
    for (int more = 1; more < 8; more++)
        for (int i = 0; i < 256; i++)
            table[more][i] = table[0][table[more - 1][i] & 255] ^ (table[more - 1][i] >> 8);
}

static uint32_t crc_add(uint32_t crc, const char *bytes, size_t length) {
    const unsigned char *at = (const unsigned char *)bytes;
    for (; length >= 8; length -= 8, at += 8) {
        crc ^= (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        crc = table[7][crc & 255] ^ table[6][crc >> 8 & 255] ^ table[5][crc >> 16 & 255] ^ table[4][crc >> 24] ^
              table[3][at[4]] ^ table[2][at[5]] ^ table[1][at[6]] ^ table[0][at[7]];
    }
    while (length--)
        crc = table[0][(crc ^ *at++) & 255] ^ (crc >> 8);
    return crc;
}

static void put_little(char *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        at[i] = (char)(value >> (8 * i));
}

/* ---- postings ----------------------------------------------------------------------------------------------------- */

/* Terms of attributes whose key and value are the same objects as before: half of all. Objects that a call is given live
 * until it returns, so this is emptied by each. */
static struct {
    const PyObject *key, *value;
    uint32_t crc;
} known_pairs[1u << 12];

static struct {
    const PyObject *key;
    uint32_t crc;
} known_keys[1u << 9];

static size_t slot_of(const PyObject *one, const PyObject *other, size_t slots) {
    uint64_t mixed = ((uint64_t)(uintptr_t)one >> 4) * 0x9e3779b97f4a7c15u + ((uint64_t)(uintptr_t)other >> 4);
    return (size_t)(mixed * 0xff51afd7ed558ccdu >> 40) & (slots - 1);
}

static outcome add_posting(buffer *out, uint32_t crc, uint64_t span) {
    uint64_t posting = (uint64_t)(crc ^ 0xFFFFFFFFu) << SPAN_BITS | span;
    return buffer_add(out, &posting, sizeof posting) < 0 ? FAILED : DONE;
}

/* The UTF-8 of the beginning, without making it: PyUnicode_AsUTF8AndSize would, and would keep it. */
static outcome crc_of_text(uint32_t *crc, PyObject *text) {
    if (!PyUnicode_Check(text))
        return UNUSUAL;
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    if (length > VALUE_CHARS)
        length = VALUE_CHARS;
    if (PyUnicode_IS_ASCII(text)) {
        *crc = crc_add(*crc, (const char *)PyUnicode_1BYTE_DATA(text), (size_t)length);
        return DONE;
    }
    char bytes[4 * VALUE_CHARS], *end = bytes;
    int kind = PyUnicode_KIND(text);
    const void *characters = PyUnicode_DATA(text);
    for (Py_ssize_t i = 0; i < length; i++) {
        Py_UCS4 one = PyUnicode_READ(kind, characters, i);
        if (one < 0x80) {
            *end++ = (char)one;
        } else if (one < 0x800) {
            *end++ = (char)(0xC0 | one >> 6);
            *end++ = (char)(0x80 | (one & 63));
        } else if (one < 0x10000) {
            if (one >= 0xD800 && one < 0xE000)
                return UNUSUAL;
            *end++ = (char)(0xE0 | one >> 12);
            *end++ = (char)(0x80 | (one >> 6 & 63));
            *end++ = (char)(0x80 | (one & 63));
        } else {
            *end++ = (char)(0xF0 | one >> 18);
            *end++ = (char)(0x80 | (one >> 12 & 63));
            *end++ = (char)(0x80 | (one >> 6 & 63));
            *end++ = (char)(0x80 | (one & 63));
        }
    }
    *crc = crc_add(*crc, bytes, (size_t)(end - bytes));
    return DONE;
}

static void crc_of_number(uint32_t *crc, long long number) {
    char digits[24], *at = digits + sizeof digits;
    unsigned long long left = number < 0 ? 0 - (unsigned long long)number : (unsigned long long)number;
    do
        *--at = (char)('0' + left % 10);
    while (left /= 10);
    if (number < 0)
        *--at = '-';
    *crc = crc_add(*crc, at, (size_t)(digits + sizeof digits - at));
}

static outcome crc_of_value(uint32_t *crc, PyObject *value) {
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
        crc_of_number(crc, number);
        return DONE;
    }
    if (PyFloat_CheckExact(value)) {
        double number = PyFloat_AS_DOUBLE(value);
        if (!(number > -1e16 && number < 1e16))
            return UNUSUAL;
        if (number == (double)(long long)number) {
            crc_of_number(crc, (long long)number);
            return DONE;
        }
        uint64_t bits;
        char bytes[sizeof bits];
        memcpy(&bits, &number, sizeof bits);
        put_little(bytes, bits, sizeof bits);
        *crc = crc_add(*crc, bytes, sizeof bytes);
        return DONE;
    }
    if (value != Py_None && !PyList_CheckExact(value) && !PyDict_CheckExact(value))
        return UNUSUAL;
    *crc = crc_add(*crc, "\0", 1);
    return DONE;
}

static outcome crc_of_key(uint32_t *crc, PyObject *key) {
    size_t slot = slot_of(key, NULL, sizeof known_keys / sizeof *known_keys);
    if (known_keys[slot].key == key) {
        *crc = known_keys[slot].crc;
        return DONE;
    }
    Py_ssize_t length;
    const char *bytes = PyUnicode_Check(key) ? PyUnicode_AsUTF8AndSize(key, &length) : NULL;
    if (bytes == NULL)
        return PyErr_Occurred() ? FAILED : UNUSUAL;
    *crc = crc_add(crc_add(0xFFFFFFFFu, bytes, (size_t)length), "\0", 1);
    known_keys[slot].key = key;
    known_keys[slot].crc = *crc;
    return DONE;
}

static outcome add_attributes(buffer *out, PyObject *attributes, uint64_t number) {
    PyObject *key, *value;
    Py_ssize_t place = 0;
    if (!PyDict_CheckExact(attributes))
        return UNUSUAL;
    /* Nothing below runs Python code, so the dict stays as it is. */
    while (PyDict_Next(attributes, &place, &key, &value)) {
        size_t slot = slot_of(key, value, sizeof known_pairs / sizeof *known_pairs);
        if (known_pairs[slot].key != key || known_pairs[slot].value != value) {
            uint32_t crc;
            TRY(crc_of_key(&crc, key));
            TRY(crc_of_value(&crc, value));
            known_pairs[slot].key = key;
            known_pairs[slot].value = value;
            known_pairs[slot].crc = crc;
        }
        TRY(add_posting(out, known_pairs[slot].crc, number));
    }
    return DONE;
}

static outcome add_all_of(buffer *out, PyObject *items, const layout *of, int field, uint64_t number) {
    if (!PyList_CheckExact(items))
        return UNUSUAL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items); i++) {
        PyObject *item = PyList_GET_ITEM(items, i);
        PyObject *attributes = Py_TYPE(item) == of->type ? *layout_slot(item, of->offsets[field]) : NULL;
        if (attributes == NULL)
            return UNUSUAL;
        TRY(add_attributes(out, attributes, number));
    }
    return DONE;
}

static outcome add_terms(buffer *out, PyObject *span, uint64_t number) {
    if (Py_TYPE(span) != python.span.type)
        return UNUSUAL;
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
    TRY(add_posting(out, crc, number));
    int overflow;
    if (PyLong_AsLongAndOverflow(values[STATUS_CODE], &overflow) == ERROR_CODE)
        TRY(add_posting(out, crc_add(0xFFFFFFFFu, "\0error\0", 7), number));
    TRY(add_attributes(out, values[ATTRIBUTES], number));
    TRY(add_attributes(out, of_scope, number));
    TRY(add_all_of(out, values[EVENTS], &python.event, EVENT_ATTRIBUTES, number));
    return add_all_of(out, values[LINKS], &python.link, LINK_ATTRIBUTES, number);
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

/* Where the terms of each of `buckets` equal ranges begin, and their lists; one item more, for the end of the last. */
typedef struct {
    uint64_t buckets, next;
    PyObject *entries, *lists;
} fences;

static int fences_up_to(fences *all, uint64_t bucket, size_t entries, size_t listed) {
    for (; all->next <= bucket; all->next++) {
        PyObject *entry = PyLong_FromSize_t(entries), *list = PyLong_FromSize_t(listed);
        if (entry == NULL || list == NULL) {
            Py_XDECREF(entry);
            Py_XDECREF(list);
            return -1;
        }
        PyList_SET_ITEM(all->entries, (Py_ssize_t)all->next, entry);
        PyList_SET_ITEM(all->lists, (Py_ssize_t)all->next, list);
    }
    return 0;
}

/* (entries, lists, fences of entries, fences of lists) of sorted postings, each once. */
static PyObject *columns_of(const uint64_t *postings, size_t count) {
    size_t once = 0, distinct = 0;
    for (size_t i = 0; i < count; i++) {
        once += i == 0 || postings[i] != postings[i - 1];
        distinct += i == 0 || postings[i] >> SPAN_BITS != postings[i - 1] >> SPAN_BITS;
    }
    fences all = {distinct / ENTRIES_EACH, 0, NULL, NULL};
    all.buckets = all.buckets < 1 ? 1 : all.buckets > BUCKETS_MAX ? BUCKETS_MAX : all.buckets;
    PyObject *entries = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)((TERM_BYTES + SPAN_BYTES) * distinct));
    PyObject *lists = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(SPAN_BYTES * once));
    PyObject *columns = NULL;
    all.entries = PyList_New((Py_ssize_t)all.buckets + 1);
    all.lists = PyList_New((Py_ssize_t)all.buckets + 1);
    if (entries != NULL && lists != NULL && all.entries != NULL && all.lists != NULL) {
        char *entry = PyBytes_AS_STRING(entries), *list = PyBytes_AS_STRING(lists);
        size_t listed = 0, of_terms = 0;
        int failed = 0;
        for (size_t i = 0; i < count && !failed;) {
            uint64_t term = postings[i] >> SPAN_BITS;
            size_t before = listed;
            failed = fences_up_to(&all, term * all.buckets >> 32, of_terms, listed);
            for (; i < count && postings[i] >> SPAN_BITS == term; i++) {
                if (i && postings[i] == postings[i - 1])
                    continue;
                put_little(list + SPAN_BYTES * listed++, postings[i] & ((1 << SPAN_BITS) - 1), SPAN_BYTES);
            }
            put_little(entry, term, TERM_BYTES);
            put_little(entry + TERM_BYTES, listed - before, SPAN_BYTES);
            entry += TERM_BYTES + SPAN_BYTES;
            of_terms++;
        }
        if (!failed && fences_up_to(&all, all.buckets, of_terms, listed) == 0)
            columns = Py_BuildValue("(OOOO)", entries, lists, all.entries, all.lists);
    }
    Py_XDECREF(entries);
    Py_XDECREF(lists);
    Py_XDECREF(all.entries);
    Py_XDECREF(all.lists);
    return columns;
}

/* What is made of the postings, which are given back; None where `result` says that Python is to do it. */
static PyObject *columns_or_none(buffer *out, outcome result) {
    PyObject *columns = NULL;
    if (result == DONE) {
        size_t postings = out->length / sizeof(uint64_t);
        uint64_t *other = PyMem_RawMalloc(out->length ? out->length : 1);
        if (other == NULL) {
            PyErr_NoMemory();
        } else {
            sort_postings((uint64_t *)(void *)out->start, other, postings);
            columns = columns_of((uint64_t *)(void *)out->start, postings);
            PyMem_RawFree(other);
        }
    } else if (result == UNUSUAL || is_left_to_python()) {
        Py_INCREF(Py_None);
        columns = Py_None;
    }
    PyMem_RawFree(out->start);
    return columns;
}

/* term_lists(spans) -> (entries, lists, fences of entries, fences of lists) | None, see terms/segment.py. */
PyObject *term_lists(PyObject *module, PyObject *spans) {
    (void)module;
    if (!PyList_CheckExact(spans) || PyList_GET_SIZE(spans) >= 1 << SPAN_BITS)
        Py_RETURN_NONE;
    make_table();
    memset(known_pairs, 0, sizeof known_pairs);
    memset(known_keys, 0, sizeof known_keys);
    buffer out = {0};
    outcome result = DONE;
    for (Py_ssize_t i = 0; result == DONE && i < PyList_GET_SIZE(spans); i++)
        result = add_terms(&out, PyList_GET_ITEM(spans, i), (uint64_t)i);
    return columns_or_none(&out, result);
}

/* The postings of one segment of several, whose first span has the number `first`. */
static outcome add_postings(buffer *out, PyObject *part) {
    if (!PyTuple_CheckExact(part) || PyTuple_GET_SIZE(part) != 3)
        return UNUSUAL;
    PyObject *entries = PyTuple_GET_ITEM(part, 0), *lists = PyTuple_GET_ITEM(part, 1), *number = PyTuple_GET_ITEM(part, 2);
    if (!PyBytes_CheckExact(entries) || !PyBytes_CheckExact(lists) || !PyLong_CheckExact(number))
        return UNUSUAL;
    int overflow;
    long first = PyLong_AsLongAndOverflow(number, &overflow);
    if (overflow || first < 0 || first >= 1 << SPAN_BITS)
        return UNUSUAL;
    const unsigned char *entry = (const unsigned char *)PyBytes_AS_STRING(entries);
    const unsigned char *end = entry + PyBytes_GET_SIZE(entries);
    const unsigned char *list = (const unsigned char *)PyBytes_AS_STRING(lists);
    size_t left = (size_t)PyBytes_GET_SIZE(lists) / SPAN_BYTES;
    for (; end - entry >= TERM_BYTES + SPAN_BYTES; entry += TERM_BYTES + SPAN_BYTES) {
        uint64_t term = (uint64_t)entry[0] | (uint64_t)entry[1] << 8 | (uint64_t)entry[2] << 16 | (uint64_t)entry[3] << 24;
        size_t count = (size_t)entry[4] | (size_t)entry[5] << 8;
        if (count > left)
            return UNUSUAL;
        left -= count;
        for (; count; count--, list += SPAN_BYTES) {
            uint64_t span = (uint64_t)first + ((uint64_t)list[0] | (uint64_t)list[1] << 8);
            uint64_t posting = term << SPAN_BITS | span;
            if (span >= 1 << SPAN_BITS)
                return UNUSUAL;
            if (buffer_add(out, &posting, sizeof posting) < 0)
                return FAILED;
        }
    }
    return DONE;
}

/* merge_term_lists([(entries, lists, number of the first span), ...]) -> as term_lists | None, see terms/segment.py. */
PyObject *merge_term_lists(PyObject *module, PyObject *parts) {
    (void)module;
    if (!PyList_CheckExact(parts))
        Py_RETURN_NONE;
    buffer out = {0};
    outcome result = DONE;
    for (Py_ssize_t i = 0; result == DONE && i < PyList_GET_SIZE(parts); i++)
        result = add_postings(&out, PyList_GET_ITEM(parts, i));
    return columns_or_none(&out, result);
}

/* ---- durations ---------------------------------------------------------------------------------------------------- */

static outcome add_duration(uint64_t *postings, PyObject *span, uint64_t number) {
    if (Py_TYPE(span) != python.span.type)
        return UNUSUAL;
    PyObject *start = *layout_slot(span, python.span.offsets[START_NS]), *end = *layout_slot(span, python.span.offsets[END_NS]);
    if (start == NULL || end == NULL || !PyLong_CheckExact(start) || !PyLong_CheckExact(end))
        return UNUSUAL;
    int overflow, overflow_of_end;
    long long start_ns = PyLong_AsLongLongAndOverflow(start, &overflow);
    long long end_ns = PyLong_AsLongLongAndOverflow(end, &overflow_of_end);
    if (overflow || overflow_of_end || start_ns < 0 || end_ns < 0)
        return UNUSUAL;
    uint64_t took_ns = end_ns > start_ns ? (uint64_t)(end_ns - start_ns) : 0, code = took_ns;
    int shift = 0;
    for (; took_ns >> shift >= 2048; shift++)
        ;
    if (took_ns >= 1024)
        code = (uint64_t)(shift + 1) << 10 | (took_ns >> shift & 1023);
    postings[number] = code << SPAN_BITS | number;
    return DONE;
}

/* term_durations(spans) -> (spans by duration, codes of durations, ends of octaves) | None, see terms/segment.py. */
PyObject *term_durations(PyObject *module, PyObject *spans) {
    (void)module;
    if (!PyList_CheckExact(spans) || PyList_GET_SIZE(spans) >= 1 << SPAN_BITS)
        Py_RETURN_NONE;
    size_t count = (size_t)PyList_GET_SIZE(spans), ends[OCTAVES] = {0}, end = 0;
    uint64_t *postings = PyMem_RawMalloc(2 * sizeof(uint64_t) * count + 1);
    PyObject *numbers = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(SPAN_BYTES * count));
    PyObject *codes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(SPAN_BYTES * count));
    PyObject *octaves = PyList_New(OCTAVES), *columns = NULL;
    outcome result = DONE;
    if (postings == NULL)
        PyErr_NoMemory();
    if (postings == NULL || numbers == NULL || codes == NULL || octaves == NULL)
        result = FAILED;
    for (size_t i = 0; result == DONE && i < count; i++)
        result = add_duration(postings, PyList_GET_ITEM(spans, (Py_ssize_t)i), i);
    if (result == DONE) {
        sort_postings(postings, postings + count, count);
        for (size_t i = 0; i < count; i++) {
            put_little(PyBytes_AS_STRING(numbers) + SPAN_BYTES * i, postings[i] & ((1 << SPAN_BITS) - 1), SPAN_BYTES);
            put_little(PyBytes_AS_STRING(codes) + SPAN_BYTES * i, postings[i] >> SPAN_BITS, SPAN_BYTES);
            ends[postings[i] >> (SPAN_BITS + 10)]++;
        }
        for (Py_ssize_t i = 0; i < OCTAVES && result == DONE; i++) {
            PyObject *number = PyLong_FromSize_t(end += ends[i]);
            if (number == NULL)
                result = FAILED;
            else
                PyList_SET_ITEM(octaves, i, number);
        }
    }
    if (result == DONE)
        columns = Py_BuildValue("(OOO)", numbers, codes, octaves);
    if (result == UNUSUAL) {
        Py_INCREF(Py_None);
        columns = Py_None;
    }
    Py_XDECREF(numbers);
    Py_XDECREF(codes);
    Py_XDECREF(octaves);
    PyMem_RawFree(postings);
    return columns;
}
