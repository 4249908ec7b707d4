// The steps of docs/arithmetic.md on single integers, for the kernels of the CPU and of a GPU. Functions are
// static: each instruction set that the CPU's kernels are compiled for has its own.
#ifndef GLIC_INTEGER_ARITHMETIC_H
#define GLIC_INTEGER_ARITHMETIC_H

#include <cstdint>

#if defined(__CUDACC__)
#define GLIC_ANYWHERE __host__ __device__
#else
#define GLIC_ANYWHERE
#endif

namespace glic {

constexpr int32_t kWide = (1 << 23) - 1;
constexpr int32_t kProductInput = INT16_MAX;  // largest magnitude of a factor of products
constexpr int32_t kNormInput = 8191;
constexpr int32_t kNormDeviation = 4095;
constexpr int32_t kGateInput = 2047;
constexpr int32_t kRsqrtBits = 11;
constexpr int32_t kRsqrtFirst = 1024;  // the first mantissa of the table
constexpr int64_t kRsqrtEntries = 3072;
constexpr int32_t kGeluZero = 2048;  // the entry for an argument of 0
constexpr int64_t kGeluEntries = 4096;

// The largest shift, and the widest norm whose deviations fit 32 bits: with it no shift of a unit passes 30.
constexpr int32_t kMostShift = 30;
constexpr int64_t kMostChannels = int64_t{1} << 16;

// The window of the depthwise convolution.
constexpr int32_t kTaps = 5;

// Sums and products that wrap around. The exporter proves that its networks stay within 32 bits; others get
// wrong numbers, the same on every processor.
GLIC_ANYWHERE static inline int32_t plus(int32_t a, int32_t b) {
    return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b));
}
GLIC_ANYWHERE static inline int32_t times(int32_t a, int32_t b) {
    return static_cast<int32_t>(static_cast<uint32_t>(a) * static_cast<uint32_t>(b));
}

// x / 2^shift, halves to even; shift 0 to 30.
GLIC_ANYWHERE static inline int32_t round_shift(int32_t x, int32_t shift) {
    const int32_t some = shift > 0;
    const int32_t below_half = (1 << shift >> 1) - some;
    return plus(plus(x, below_half), (x >> shift) & some) >> shift;
}

GLIC_ANYWHERE static inline int32_t clamp(int32_t x, int32_t limit) {
    return x < -limit ? -limit : x > limit ? limit : x;
}

// The integer that a map holds; what is none in ±limit, not a number included, becomes the nearest or -limit.
GLIC_ANYWHERE static inline int32_t integer_of(float x, int32_t limit) {
    const float most = static_cast<float>(limit);
    x = x > -most ? x : -most;
    return static_cast<int32_t>(x < most ? x : most);
}

// A layer's result of a sum of products.
GLIC_ANYWHERE static inline int32_t finished(int32_t sum, int32_t bias, int32_t shift, int32_t limit) {
    return clamp(round_shift(plus(sum, bias), shift), limit);
}

// Unit norm: the least power of two, as its logarithm, that is no less than the number of channels.
GLIC_ANYWHERE static inline int32_t norm_narrowing(int32_t channels) {
    int32_t narrowing = 0;
    while (1 << narrowing < channels) ++narrowing;
    return narrowing;
}
GLIC_ANYWHERE static inline int32_t norm_input(float stream, int32_t shift) {
    return clamp(round_shift(integer_of(stream, kWide), shift), kNormInput);
}
GLIC_ANYWHERE static inline int32_t deviation(int32_t input, int32_t total, int32_t channels,
                                              int32_t narrowing) {
    return clamp(round_shift(channels * input - total, narrowing), kNormDeviation);
}

// 1 over the root of a sum of squares: an entry of the table / 2^(kRsqrtBits + exponent).
struct Reciprocal {
    int32_t entry, exponent;
};
GLIC_ANYWHERE static inline Reciprocal reciprocal_root(int64_t squares, const int32_t* rsqrt) {
    if (squares < 1) squares = 1;
    int32_t exponent = 0;
    while (squares >> (2 * exponent + 2)) ++exponent;
    return {rsqrt[(squares << 10 >> 2 * exponent) - kRsqrtFirst], exponent};
}
GLIC_ANYWHERE static inline int32_t unit(int32_t deviation, Reciprocal root, int32_t fraction,
                                         int32_t limit) {
    return clamp(round_shift(times(deviation, root.entry), kRsqrtBits + root.exponent - fraction), limit);
}

// GELU(a) · b, narrowed.
GLIC_ANYWHERE static inline int32_t gated(int32_t a, int32_t b, const int32_t* gelu, int32_t shift,
                                          int32_t limit) {
    return clamp(round_shift(times(gelu[a + kGeluZero], b), shift), limit);
}

}  // namespace glic

#endif
