#include <immintrin.h>

#include "cpu_features.h"
#include "kernels_avx2_vector.h"
#include "kernels_simd.h"

namespace rans {
namespace {

struct Vector512 {
    static constexpr unsigned kWidth = 16;
    using Vec = __m512i;
    using Mask = __mmask16;

    static Vec set(uint32_t value) { return _mm512_set1_epi32(static_cast<int>(value)); }
    static Vec load(const uint32_t* from) { return _mm512_loadu_si512(from); }
    static void store(uint32_t* to, Vec v) { _mm512_storeu_si512(to, v); }
    static Vec load_bytes(const uint8_t* from) {
        return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    }
    static void store_int16(int16_t* to, Vec v) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(v));
    }
    static void load_rows(const Row* from, Vec& place, Vec& range) {
        const Vec low = _mm512_loadu_si512(from), high = _mm512_loadu_si512(from + 8);
        const Vec even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        place = _mm512_permutex2var_epi32(low, even, high);
        range = _mm512_permutex2var_epi32(low, _mm512_add_epi32(even, set(1)), high);
    }
    static Vec gather(const uint32_t* base, Vec index) { return _mm512_i32gather_epi32(index, base, 4); }

    static Vec add(Vec a, Vec b) { return _mm512_add_epi32(a, b); }
    static Vec sub(Vec a, Vec b) { return _mm512_sub_epi32(a, b); }
    static Vec mul(Vec a, Vec b) { return _mm512_mullo_epi32(a, b); }
    static Vec bit_and(Vec a, Vec b) { return _mm512_and_si512(a, b); }
    template <int Bits>
    static Vec shift_left(Vec v) {
        return _mm512_slli_epi32(v, Bits);
    }
    template <int Bits>
    static Vec shift_right(Vec v) {
        return _mm512_srli_epi32(v, Bits);
    }
    template <int Bits>
    static Vec shift_right_signed(Vec v) {
        return _mm512_srai_epi32(v, Bits);
    }
    static Vec shift_right_by(Vec v, Vec bits) { return _mm512_srlv_epi32(v, bits); }

    static Mask less(Vec a, Vec b) { return _mm512_cmplt_epu32_mask(a, b); }
    static Mask not_less(Vec a, Vec b) { return _mm512_cmpge_epu32_mask(a, b); }
    static Mask equal(Vec a, Vec b) { return _mm512_cmpeq_epi32_mask(a, b); }
    static uint32_t bits(Mask mask) { return mask; }
    static unsigned count(Mask mask) { return static_cast<unsigned>(__builtin_popcount(mask)); }
    static Vec select(Mask mask, Vec a, Vec b) { return _mm512_mask_blend_epi32(mask, b, a); }

    static Vec take_bytes(Vec x, Mask mask, const uint8_t* next) {
        const Vec bytes = _mm512_maskz_expand_epi32(mask, load_bytes(next));
        return _mm512_mask_or_epi32(x, mask, _mm512_slli_epi32(x, 8), bytes);
    }
    static void put_bytes(Vec x, Mask mask, uint8_t* next) {
        const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_maskz_compress_epi32(mask, x));
        _mm_mask_storeu_epi8(next - count(mask), static_cast<__mmask16>((1u << count(mask)) - 1), bytes);
    }
    static Vec quotient(Vec x, Vec divisor) {
        const __m512 inverse = _mm512_div_ps(_mm512_set1_ps(1), _mm512_cvtepi32_ps(divisor));
        const __m512 estimate = _mm512_mul_ps(_mm512_cvtepi32_ps(x), inverse);
        return _mm512_cvttps_epi32(_mm512_sub_ps(estimate, _mm512_set1_ps(kQuotientBias)));
    }
};

using Lanes8 = SimdKernels<Vector256, 8>;
using Lanes16 = SimdKernels<Vector512, 16>;
using Lanes32 = SimdKernels<Vector512, 32>;

}  // namespace

const Kernels avx512_kernels = {
    kCompiledFeatures,
    {scalar_decode<1>, scalar_decode<2>, scalar_decode<4>, Lanes8::decode, Lanes16::decode, Lanes32::decode},
    {scalar_encode<1>, scalar_encode<2>, scalar_encode<4>, Lanes8::encode, Lanes16::encode, Lanes32::encode},
};

}  // namespace rans
