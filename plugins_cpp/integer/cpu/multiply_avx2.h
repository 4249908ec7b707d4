// Pairs of int16 products added to int32: AVX2's multiply-add of int16 does not saturate.
#ifndef GLIC_INTEGER_CPU_MULTIPLY_AVX2_H
#define GLIC_INTEGER_CPU_MULTIPLY_AVX2_H

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "pairs.h"

namespace glic {
namespace avx2 {
namespace {

constexpr int64_t kRows = 3;
constexpr int64_t kVectors = 4;  // of 8 columns

inline void multiply(const int16_t* a, const int16_t* panel, int64_t pairs, int32_t* sums) {
    __m256i sum[kRows][kVectors];
    for (auto& row : sum) {
        for (__m256i& vector : row) vector = _mm256_setzero_si256();
    }
    for (int64_t p = 0; p < pairs; ++p, a += 2 * kRows, panel += 64) {
#pragma GCC unroll 3
        for (int64_t r = 0; r < kRows; ++r) {
            int32_t pair;
            std::memcpy(&pair, a + 2 * r, sizeof(pair));
            const __m256i both = _mm256_set1_epi32(pair);
#pragma GCC unroll 4
            for (int64_t v = 0; v < kVectors; ++v) {
                const __m256i weights = _mm256_load_si256(reinterpret_cast<const __m256i*>(panel + 16 * v));
                sum[r][v] = _mm256_add_epi32(sum[r][v], _mm256_madd_epi16(both, weights));
            }
        }
    }
    for (int64_t r = 0; r < kRows; ++r) {
        for (int64_t v = 0; v < kVectors; ++v) {
            _mm256_store_si256(reinterpret_cast<__m256i*>(sums + 32 * r + 8 * v), sum[r][v]);
        }
    }
}

}  // namespace
}  // namespace avx2
}  // namespace glic

#endif
