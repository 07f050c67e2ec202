/* SHA-256 (FIPS 180-4) by the instructions that processors have for it. Everywhere else hashlib is asked: it is faster
 * than portable C, and costs half a microsecond a call, which is what these instructions save. */
#include "hot_path.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))

#include <cpuid.h>
#include <immintrin.h>

static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
    0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
    0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

int sha256_has_instructions(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3))
        return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & (1u << 29)) != 0;
}

/* The state is kept as the instructions want it: `abef` and `cdgh`, first letter highest. */
__attribute__((target("sha,sse4.1,ssse3"))) static void
add_blocks(__m128i *abef, __m128i *cdgh, const unsigned char *at, size_t blocks) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i first = *abef, second = *cdgh;
    for (; blocks; blocks--, at += 64) {
        const __m128i first_before = first, second_before = second;
        __m128i words[4]; /* the last 16 words of the message schedule, 4 in each */
        for (int i = 0; i < 4; i++)
            words[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(at + 16 * i)), big_endian);
#pragma GCC unroll 16
        for (int round = 0; round < 16; round++) {
            const __m128i now = words[round & 3];
            __m128i sum = _mm_add_epi32(now, _mm_loadu_si128((const __m128i *)(constants + 4 * round)));
            second = _mm_sha256rnds2_epu32(second, first, sum);
            first = _mm_sha256rnds2_epu32(first, second, _mm_shuffle_epi32(sum, 0x0e));
            if (round < 12) {
                /* Words t..t+3 from t-16.. (now), t-15.. , t-7.. and t-2.. */
                const __m128i third = words[(round + 2) & 3], last = words[(round + 3) & 3];
                __m128i next = _mm_sha256msg1_epu32(now, words[(round + 1) & 3]);
                next = _mm_add_epi32(next, _mm_alignr_epi8(last, third, 4));
                words[round & 3] = _mm_sha256msg2_epu32(next, last);
            }
        }
        first = _mm_add_epi32(first, first_before);
        second = _mm_add_epi32(second, second_before);
    }
    *abef = first;
    *cdgh = second;
}

__attribute__((target("sha,sse4.1,ssse3"))) int64_t sha256_first_8(const unsigned char *content, size_t length) {
    __m128i abef = _mm_set_epi32(0x6a09e667, (int)0xbb67ae85, 0x510e527f, (int)0x9b05688c);
    __m128i cdgh = _mm_set_epi32(0x3c6ef372, (int)0xa54ff53a, 0x1f83d9ab, 0x5be0cd19);
    size_t whole = length / 64, rest = length % 64;
    add_blocks(&abef, &cdgh, content, whole);
    /* The end: what is left, one bit, zeros, the length in bits. */
    unsigned char end[128] = {0};
    memcpy(end, content + whole * 64, rest);
    end[rest] = 0x80;
    size_t blocks = rest < 56 ? 1 : 2;
    uint64_t bits = (uint64_t)length * 8;
    for (int i = 0; i < 8; i++)
        end[blocks * 64 - 1 - (size_t)i] = (unsigned char)(bits >> (8 * i));
    add_blocks(&abef, &cdgh, end, blocks);
    return (int64_t)((uint64_t)(uint32_t)_mm_extract_epi32(abef, 3) << 32 | (uint32_t)_mm_extract_epi32(abef, 2));
}

#else

int sha256_has_instructions(void) { return 0; }
int64_t sha256_first_8(const unsigned char *content, size_t length) {
    (void)content, (void)length;
    return 0;
}

#endif
