// Pairs of int16 products added to int32 by one instruction: AVX-512 VNNI.
#ifndef GLIC_INTEGER_CPU_MULTIPLY_AVX512VNNI_H
#define GLIC_INTEGER_CPU_MULTIPLY_AVX512VNNI_H

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "pairs.h"

namespace glic {
namespace avx512vnni {
namespace {

constexpr int64_t kRows = 12;
constexpr int64_t kAhead = 16 * 64;

inline void multiply(const int16_t* a, const int16_t* panel, int64_t pairs, int32_t* sums) {
    __m512i sum[kRows][2];
    for (int64_t r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_si512();
    for (int64_t p = 0; p < pairs; ++p, a += 2 * kRows, panel += 64) {
        // A panel comes from the second-level cache, two lines a step, faster than it is fetched unasked.
        _mm_prefetch(reinterpret_cast<const char*>(panel + kAhead), _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(panel + kAhead + 32), _MM_HINT_T0);
        const __m512i left = _mm512_load_si512(panel), right = _mm512_load_si512(panel + 32);
#pragma GCC unroll 12
        for (int64_t r = 0; r < kRows; ++r) {
            int32_t pair;
            std::memcpy(&pair, a + 2 * r, sizeof(pair));
            const __m512i both = _mm512_set1_epi32(pair);
            sum[r][0] = _mm512_dpwssd_epi32(sum[r][0], both, left);
            sum[r][1] = _mm512_dpwssd_epi32(sum[r][1], both, right);
        }
    }
    for (int64_t r = 0; r < kRows; ++r) {
        _mm512_store_si512(sums + 32 * r, sum[r][0]);
        _mm512_store_si512(sums + 32 * r + 16, sum[r][1]);
    }
}

}  // namespace
}  // namespace avx512vnni
}  // namespace glic

#endif
