// Vectors of eight lanes with AVX2, in the form that kernels_simd.h asks for.
#ifndef RANS_KERNELS_AVX2_VECTOR_H
#define RANS_KERNELS_AVX2_VECTOR_H

#include <immintrin.h>

#include <cstdint>

#include "byte_orders.h"
#include "kernels_simd.h"

namespace rans {
namespace {

struct Vector256 {
    static constexpr unsigned kWidth = 8;
    using Vec = __m256i;
    using Mask = __m256i;

    static Vec set(uint32_t value) { return _mm256_set1_epi32(static_cast<int>(value)); }
    static Vec load(const uint32_t* from) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    }
    static void store(uint32_t* to, Vec v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), v); }
    static __m128i load_half(const void* from) { return _mm_loadl_epi64(static_cast<const __m128i*>(from)); }
    static Vec load_bytes(const uint8_t* from) { return _mm256_cvtepu8_epi32(load_half(from)); }
    static void store_int16(int16_t* to, Vec v) {
        const __m256i low = _mm256_shuffle_epi8(
            v, _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1, 0, 1, 4, 5, 8, 9,
                                12, 13, -1, -1, -1, -1, -1, -1, -1, -1));
        const __m128i halves = _mm256_castsi256_si128(_mm256_permute4x64_epi64(low, 0x08));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), halves);
    }
    static void load_rows(const Row* from, Vec& place, Vec& range) {
        const __m256 low = _mm256_castsi256_ps(load(&from[0].place)),
                     high = _mm256_castsi256_ps(load(&from[4].place));
        const Vec places = _mm256_castps_si256(_mm256_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0)));
        const Vec ranges = _mm256_castps_si256(_mm256_shuffle_ps(low, high, _MM_SHUFFLE(3, 1, 3, 1)));
        place = _mm256_permute4x64_epi64(places, _MM_SHUFFLE(3, 1, 2, 0));
        range = _mm256_permute4x64_epi64(ranges, _MM_SHUFFLE(3, 1, 2, 0));
    }
    static Vec gather(const uint32_t* base, Vec index) {
        return _mm256_i32gather_epi32(reinterpret_cast<const int*>(base), index, 4);
    }

    static Vec add(Vec a, Vec b) { return _mm256_add_epi32(a, b); }
    static Vec sub(Vec a, Vec b) { return _mm256_sub_epi32(a, b); }
    static Vec mul(Vec a, Vec b) { return _mm256_mullo_epi32(a, b); }
    static Vec bit_and(Vec a, Vec b) { return _mm256_and_si256(a, b); }
    template <int Bits>
    static Vec shift_left(Vec v) {
        return _mm256_slli_epi32(v, Bits);
    }
    template <int Bits>
    static Vec shift_right(Vec v) {
        return _mm256_srli_epi32(v, Bits);
    }
    template <int Bits>
    static Vec shift_right_signed(Vec v) {
        return _mm256_srai_epi32(v, Bits);
    }
    static Vec shift_right_by(Vec v, Vec bits) { return _mm256_srlv_epi32(v, bits); }

    static Mask less(Vec a, Vec b) { return _mm256_cmpgt_epi32(b, a); }
    static Mask not_less(Vec a, Vec b) { return equal(_mm256_max_epu32(a, b), a); }
    static Mask equal(Vec a, Vec b) { return _mm256_cmpeq_epi32(a, b); }
    static uint32_t bits(Mask mask) {
        return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(mask)));
    }
    static unsigned count(Mask mask) { return static_cast<unsigned>(__builtin_popcount(bits(mask))); }
    static Vec select(Mask mask, Vec a, Vec b) { return _mm256_blendv_epi8(b, a, mask); }

    static Vec take_bytes(Vec x, Mask mask, const uint8_t* next) {
        const Vec order = load_bytes(kByteOrders.spread[bits(mask)]);
        const Vec bytes = _mm256_permutevar8x32_epi32(load_bytes(next), order);
        return select(mask, _mm256_or_si256(_mm256_slli_epi32(x, 8), bytes), x);
    }
    static void put_bytes(Vec x, Mask mask, uint8_t* next) {
        const __m256i low = _mm256_shuffle_epi8(
            x, _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1,
                                -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
        const __m128i bytes =
            _mm_unpacklo_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
        const __m128i order = load_half(kByteOrders.packed[bits(mask)]);
        _mm_storel_epi64(reinterpret_cast<__m128i*>(next - 8), _mm_shuffle_epi8(bytes, order));
    }
    static Vec quotient(Vec x, Vec divisor) {
        const __m256 inverse = _mm256_div_ps(_mm256_set1_ps(1), _mm256_cvtepi32_ps(divisor));
        const __m256 estimate = _mm256_mul_ps(_mm256_cvtepi32_ps(x), inverse);
        return _mm256_cvttps_epi32(_mm256_sub_ps(estimate, _mm256_set1_ps(kQuotientBias)));
    }
};

}  // namespace
}  // namespace rans

#endif
