#include "hot_path.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define BLOCK 16

/* Copy up to the first byte that is escaped; `out` has room for BLOCK bytes more than `length`. How many were copied. */
static size_t copy_plain_run(char *out, const unsigned char *at, size_t length) {
    size_t done = 0;
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\'), last_control = _mm_set1_epi8(0x1f);
    while (length - done >= BLOCK) {
        const __m128i block = _mm_loadu_si128((const __m128i *)(at + done));
        const __m128i found = _mm_or_si128(
            _mm_or_si128(_mm_cmpeq_epi8(block, quote), _mm_cmpeq_epi8(block, backslash)),
            _mm_cmpeq_epi8(_mm_min_epu8(block, last_control), block));
        _mm_storeu_si128((__m128i *)(out + done), block);
        const unsigned mask = (unsigned)_mm_movemask_epi8(found);
        if (mask)
            return done + (size_t)__builtin_ctz(mask);
        done += BLOCK;
    }
#endif
    for (; done < length; done++) {
        const unsigned char c = at[done];
        if (c < 0x20 || c == '"' || c == '\\')
            break;
        out[done] = (char)c;
    }
    return done;
}

outcome json_add_text(buffer *out, const char *text, size_t length) {
    static const char digits[] = "0123456789abcdef";
    static const char short_escapes[0x20] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    const unsigned char *at = (const unsigned char *)text;
    if (length > (size_t)PY_SSIZE_T_MAX - 64)
        return UNUSUAL;
    if (buffer_add_char(out, '"') < 0)
        return FAILED;
    for (;;) {
        /* What is left without an escape, a block that is stored whole, one escape, the quote at the end. */
        if (buffer_reserve(out, length + BLOCK + 6 + 1) < 0)
            return FAILED;
        const size_t run = copy_plain_run(out->start + out->length, at, length);
        out->length += run;
        at += run;
        length -= run;
        if (!length)
            break;
        const unsigned char c = *at++;
        length--;
        char *escape = out->start + out->length;
        if (c == 0)
            return UNUSUAL;
        escape[0] = '\\';
        if (c >= 0x20) {
            escape[1] = (char)c;
            out->length += 2;
        } else if (short_escapes[c]) {
            escape[1] = short_escapes[c];
            out->length += 2;
        } else {
            memcpy(escape + 1, "u00", 3);
            escape[4] = digits[c >> 4];
            escape[5] = digits[c & 15];
            out->length += 6;
        }
    }
    out->start[out->length++] = '"';
    return DONE;
}

int json_add_int(buffer *out, int64_t value) {
    char digits[20];
    int at = sizeof digits;
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[--at] = (char)('0' + magnitude % 10);
        magnitude /= 10;
    } while (magnitude);
    if (value < 0)
        digits[--at] = '-';
    return buffer_add(out, digits + at, sizeof digits - (size_t)at);
}
