/* Protobuf's wire format, read through a cursor that never passes its end.
 *
 * A field begins with its number << 3 | wire type. A varint of more than ten bytes, a group, a length beyond the end, an
 * end before the end: all UNUSUAL. https://protobuf.dev/programming-guides/encoding/ */
#ifndef SPANTREE_CURSOR_H
#define SPANTREE_CURSOR_H

#include "hot_path.h"

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
static inline outcome skip_unknown(cursor *in, uint32_t tag, uint32_t last_known) {
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

static inline int is_zero(cursor id) {
    for (; id.at < id.end; id.at++)
        if (*id.at)
            return 0;
    return 1;
}

#endif
