// simd_avx512.h, and the products of pairs of AVX-512 BF16.
#ifndef GLIC_COMMON_SIMD_AVX512BF16_H
#define GLIC_COMMON_SIMD_AVX512BF16_H

#include "simd_avx512.h"

namespace glic {
namespace avx512bf16 {

// 16 pairs of bfloat16.
using Pairs = __m512bh;

static inline Pairs load_pairs(const Bfloat16* p) { return reinterpret_cast<Pairs>(_mm512_loadu_si512(p)); }
// The same pair in all lanes.
static inline Pairs set_pairs(const Bfloat16* p) {
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return reinterpret_cast<Pairs>(_mm512_set1_epi32(pair));
}
// sum + a₁·b₁, and that + a₀·b₀, for the pairs (a₀, a₁) and (b₀, b₁) of each lane.
static inline Vec fma_pairs(Pairs a, Pairs b, Vec sum) { return _mm512_dpbf16_ps(sum, a, b); }

}  // namespace avx512bf16
}  // namespace glic

#endif
