#include "texts.h"

/* A direct-mapped cache: bounded whatever is sent, and a collision costs no more than a text made anew. */
#define SLOTS (1u << 13)
#define LONGEST 64
/* A text that was used this often in a row outlives as many others that want its slot. */
#define MOST_CREDIT 3

typedef struct {
    PyObject *text;
    uint32_t length;
    uint32_t json_length;
    char bytes[]; /* as sent, then as JSON */
} remembered;

static struct {
    uint64_t hash; /* of what was last seen here: a text is remembered when it comes a second time */
    remembered *entry;
    unsigned credit;
} slots[SLOTS];

static buffer scratch;

static uint64_t hash_of(const unsigned char *bytes, size_t length, enum text_use use) {
    uint64_t hash = 0x9e3779b97f4a7c15u ^ (length << 1 | use);
    while (length >= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
        bytes += 8;
        length -= 8;
    }
    uint64_t rest = 0;
    memcpy(&rest, bytes, length);
    hash = (hash ^ rest) * 0xc4ceb9fe1a85ec53u;
    return hash ^ hash >> 29;
}

static outcome add_json(buffer *out, const unsigned char *bytes, size_t length, enum text_use use) {
    size_t before = out->length;
    TRY(json_add_text(out, (const char *)bytes, length));
    if (use == TEXT_VALUE)
        return DONE;
    if (buffer_add_char(out, ':') < 0)
        return FAILED;
    if (length && bytes[0] == '$') {
        /* stored.stored_key: one "$" more, behind the quote. */
        if (buffer_add_char(out, 0) < 0)
            return FAILED;
        char *key = out->start + before + 1;
        memmove(key + 1, key, out->length - before - 2);
        *key = '$';
    }
    return DONE;
}

static outcome new_text(const unsigned char *bytes, size_t length, enum text_use use, PyObject **text) {
    PyObject *read = PyUnicode_DecodeUTF8((const char *)bytes, (Py_ssize_t)length, NULL);
    if (read == NULL)
        return is_left_to_python() ? UNUSUAL : FAILED;
    if (use == TEXT_KEY && length && bytes[0] == '$') {
        PyObject *stored = PyUnicode_Concat(python.dollar, read);
        Py_DECREF(read);
        if ((read = stored) == NULL)
            return FAILED;
    }
    if (use == TEXT_KEY)
        (void)PyObject_Hash(read); /* known before it is remembered and looked up again and again */
    *text = read;
    return DONE;
}

static outcome remember(size_t slot, const unsigned char *bytes, size_t length, enum text_use use) {
    PyObject *text;
    scratch.length = 0;
    TRY(add_json(&scratch, bytes, length, use));
    TRY(new_text(bytes, length, use, &text));
    remembered *entry = PyMem_RawMalloc(sizeof *entry + length + scratch.length);
    if (entry == NULL) {
        Py_DECREF(text);
        PyErr_NoMemory();
        return FAILED;
    }
    entry->text = text;
    entry->length = (uint32_t)length;
    entry->json_length = (uint32_t)scratch.length;
    memcpy(entry->bytes, bytes, length);
    memcpy(entry->bytes + length, scratch.start, scratch.length);
    slots[slot].entry = entry;
    slots[slot].credit = 1;
    return DONE;
}

static void forget(size_t slot) {
    remembered *entry = slots[slot].entry;
    slots[slot].entry = NULL;
    if (entry != NULL) {
        PyObject *text = entry->text;
        PyMem_RawFree(entry);
        Py_DECREF(text);
    }
}

outcome read_text(const unsigned char *bytes, size_t length, enum text_use use, PyObject **text, buffer *json) {
    if (length == 0)
        bytes = (const unsigned char *)""; /* where a field is absent there is no place that it stands at */
    if (length <= LONGEST) {
        uint64_t hash = hash_of(bytes, length, use);
        size_t slot = hash % SLOTS;
        remembered *entry = slots[slot].entry;
        if (slots[slot].hash != hash) {
            if (entry == NULL || slots[slot].credit-- <= 1) {
                forget(slot);
                slots[slot].hash = hash;
            }
            entry = NULL;
        } else if (entry == NULL) {
            TRY(remember(slot, bytes, length, use));
            entry = slots[slot].entry;
        } else if (entry->length != length || memcmp(entry->bytes, bytes, length) != 0) {
            entry = NULL;
        } else if (slots[slot].credit < MOST_CREDIT) {
            slots[slot].credit++;
        }
        if (entry != NULL) {
            if (json != NULL && buffer_add(json, entry->bytes + length, entry->json_length) < 0)
                return FAILED;
            Py_INCREF(entry->text);
            *text = entry->text;
            return DONE;
        }
    }
    if (json != NULL)
        TRY(add_json(json, bytes, length, use));
    else if (memchr(bytes, 0, length) != NULL)
        return UNUSUAL;
    return new_text(bytes, length, use, text);
}
