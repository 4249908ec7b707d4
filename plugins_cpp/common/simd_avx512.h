// Vectors of 16 floats for the kernels: AVX-512F, alone or with more (simd_avx512bf16.h). simd_avx2.h and
// simd_portable.h define the same names.
// simd.h includes the one that a kernel is compiled for; the namespace keeps the builds apart.
#ifndef GLIC_COMMON_SIMD_AVX512_H
#define GLIC_COMMON_SIMD_AVX512_H

#include <immintrin.h>
#include <stdint.h>

#include "bfloat16.h"

namespace glic {
namespace GLIC_SIMD {

using Vec = __m512;
using Lanes = __mmask16;

constexpr int kWidth = 16;
// Registers hold this many accumulators beside their operands.
constexpr int kAccumulators = 24;

static inline Lanes first_lanes(int count) { return static_cast<Lanes>((1u << count) - 1); }
static inline Lanes lanes_of(uint32_t bits) { return static_cast<Lanes>(bits); }

static inline Vec set(float value) { return _mm512_set1_ps(value); }
static inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
static inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
static inline Vec load(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
static inline void store(uint16_t* p, Vec v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
static inline Vec load(const Bfloat16* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
static inline void store(Bfloat16* p, Vec v) {
    const __m512i bits = _mm512_castps_si512(v),
                  odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    rounded =
        _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), _mm512_set1_epi32(0x7FC00000));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
}

// The first count (at most kWidth) elements; the rest is zero.
static inline Vec load_some(const float* p, int count) {
    return _mm512_maskz_loadu_ps(first_lanes(count), p);
}
static inline void store_some(float* p, Vec v, int count) { _mm512_mask_storeu_ps(p, first_lanes(count), v); }

static inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
static inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
static inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
static inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
static inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline Vec sqrt(Vec a) { return _mm512_sqrt_ps(a); }
// b where either is NaN.
static inline Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
static inline Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
static inline Vec select(Lanes lanes, Vec a, Vec b) { return _mm512_mask_blend_ps(lanes, b, a); }
static inline Lanes greater(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
static inline uint32_t bits_of(Lanes lanes) { return lanes; }
static inline float sum(Vec v) { return _mm512_reduce_add_ps(v); }

// 2^x for x of at most 1, to 1e-7 of its value; 0 below -126; NaN stays NaN.
static inline Vec exp2_negative(Vec x) {
    const Vec lowest = set(-126.0f);
    const Lanes visible = _mm512_cmp_ps_mask(x, lowest, _CMP_NLT_UQ);
    x = max(lowest, x);
    const Vec n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Vec r = sub(x, n);
    Vec p = fma(set(1.53458075e-4f), r, set(1.33999312e-3f));
    p = fma(p, r, set(9.61848897e-3f));
    p = fma(p, r, set(5.55032878e-2f));
    p = fma(p, r, set(2.40226469e-1f));
    p = fma(p, r, set(6.93147206e-1f));
    p = fma(p, r, set(1.0f));
    return _mm512_maskz_scalef_ps(visible, p, n);
}

// 16 vectors, a square matrix, transposed in place.
static inline void transpose(Vec rows[kWidth]) {
    Vec pairs[16], quads[16];
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        quads[i] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
        quads[i + 1] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
        quads[i + 2] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
        quads[i + 3] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
    }
    // Column j of a 4×4 block sits in quads[4·block + j % 4], 128-bit lane j / 4.
    for (int j = 0; j < 4; ++j) {
        const Vec low02 = _mm512_shuffle_f32x4(quads[j], quads[4 + j], 0x88);
        const Vec low13 = _mm512_shuffle_f32x4(quads[j], quads[4 + j], 0xDD);
        const Vec high02 = _mm512_shuffle_f32x4(quads[8 + j], quads[12 + j], 0x88);
        const Vec high13 = _mm512_shuffle_f32x4(quads[8 + j], quads[12 + j], 0xDD);
        rows[j] = _mm512_shuffle_f32x4(low02, high02, 0x88);
        rows[8 + j] = _mm512_shuffle_f32x4(low02, high02, 0xDD);
        rows[4 + j] = _mm512_shuffle_f32x4(low13, high13, 0x88);
        rows[12 + j] = _mm512_shuffle_f32x4(low13, high13, 0xDD);
    }
}

}  // namespace GLIC_SIMD
}  // namespace glic

#include "halves.inl"

#endif
