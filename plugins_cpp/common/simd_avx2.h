// Vectors of 8 floats for the kernels: AVX2, FMA and F16C. See simd_avx512.h.
#ifndef GLIC_COMMON_SIMD_AVX2_H
#define GLIC_COMMON_SIMD_AVX2_H

#include <immintrin.h>
#include <stdint.h>

#include "bfloat16.h"

namespace glic {
namespace avx2 {

using Vec = __m256;
using Lanes = __m256;

constexpr int kWidth = 8;
constexpr int kAccumulators = 12;

static inline Lanes lanes_of(uint32_t bits) {
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i set = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), lane);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane));
}
static inline __m256i first_lanes(int count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline Vec set(float value) { return _mm256_set1_ps(value); }
static inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
static inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
static inline Vec load(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
static inline void store(uint16_t* p, Vec v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
static inline Vec load(const Bfloat16* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
static inline void store(Bfloat16* p, Vec v) {
    const __m256i bits = _mm256_castps_si256(v),
                  odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
    const __m256i unordered = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    rounded = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7FC00000), unordered), 16);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(rounded, rounded), 0xD8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}

static inline Vec load_some(const float* p, int count) { return _mm256_maskload_ps(p, first_lanes(count)); }
static inline void store_some(float* p, Vec v, int count) { _mm256_maskstore_ps(p, first_lanes(count), v); }

static inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
static inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
static inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
static inline Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline Vec sqrt(Vec a) { return _mm256_sqrt_ps(a); }
static inline Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
static inline Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
static inline Vec select(Lanes lanes, Vec a, Vec b) { return _mm256_blendv_ps(b, a, lanes); }
static inline Lanes greater(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
static inline uint32_t bits_of(Lanes lanes) { return static_cast<uint32_t>(_mm256_movemask_ps(lanes)); }
static inline float sum(Vec v) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_shuffle_ps(half, half, 1)));
}

static inline Vec exp2_negative(Vec x) {
    const Vec lowest = set(-126.0f);
    const Vec visible = _mm256_cmp_ps(x, lowest, _CMP_NLT_UQ);
    x = max(lowest, x);
    const Vec n = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Vec r = sub(x, n);
    Vec p = fma(set(1.53458075e-4f), r, set(1.33999312e-3f));
    p = fma(p, r, set(9.61848897e-3f));
    p = fma(p, r, set(5.55032878e-2f));
    p = fma(p, r, set(2.40226469e-1f));
    p = fma(p, r, set(6.93147206e-1f));
    p = fma(p, r, set(1.0f));
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    const Vec power = _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
    return _mm256_and_ps(visible, mul(p, power));
}

static inline void transpose(Vec rows[kWidth]) {
    Vec pairs[8], quads[8];
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        quads[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
        quads[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
        quads[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
        quads[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
    }
    for (int j = 0; j < 4; ++j) {
        rows[j] = _mm256_permute2f128_ps(quads[j], quads[4 + j], 0x20);
        rows[4 + j] = _mm256_permute2f128_ps(quads[j], quads[4 + j], 0x31);
    }
}

}  // namespace avx2
}  // namespace glic

#include "halves.inl"

#endif
