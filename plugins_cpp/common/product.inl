// Products of a few rows of a map with a panel of packed weights; the sums stay in registers. Included after
// a simd header.

#include <cstdint>

#include "bfloat16.h"
#include "kernel.h"
#include "product.h"
#include "vectors.inl"

namespace glic {
namespace GLIC_SIMD {
namespace {

// The rows and the vectors of outputs that are summed together.
constexpr int kRows = 6;
constexpr int kVectors = kAccumulators / kRows;
constexpr int64_t kColumns = kVectors * kWidth;

using Sums = Vec[kRows][kVectors];

// Which rows of a map are multiplied: kRows of them, `stride` apart; past the last of `count` that one again.
template <typename T>
struct Rows {
    Rows(const T* first, int64_t stride, int64_t count) {
        for (int r = 0; r < kRows; ++r) at[r] = first + (r < count ? r : count - 1) * stride;
    }
    const T* at[kRows];
};

inline void start(const float* bias, Sums& sums) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
        const Vec first = bias == nullptr ? set(0.0f) : load(bias + v * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) sums[r][v] = first;
    }
}

// sums += rows × panel, over `depth` inputs, for the first kUsed vectors of the panel's outputs.
template <int kUsed>
inline void multiply_inputs(const Rows<float>& rows, const float* panel, int64_t depth, Sums& sums) {
    for (int64_t k = 0; k < depth; ++k, panel += kColumns) {
        Vec weights[kUsed];
#pragma GCC unroll 8
        for (int v = 0; v < kUsed; ++v) weights[v] = load(panel + v * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            const Vec value = set(rows.at[r][k]);
#pragma GCC unroll 8
            for (int v = 0; v < kUsed; ++v) sums[r][v] = fma(value, weights[v], sums[r][v]);
        }
    }
}

#if defined(GLIC_PAIRS)
constexpr int64_t kBfloat16Group = 2;

template <int kUsed>
inline void multiply_inputs(const Rows<Bfloat16>& rows, const Bfloat16* panel, int64_t depth, Sums& sums) {
    for (int64_t k = 0; k < depth; k += 2, panel += 2 * kColumns) {
        Pairs weights[kUsed];
#pragma GCC unroll 8
        for (int v = 0; v < kUsed; ++v) weights[v] = load_pairs(panel + v * 2 * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            const Pairs value = set_pairs(rows.at[r] + k);
#pragma GCC unroll 8
            for (int v = 0; v < kUsed; ++v) sums[r][v] = fma_pairs(value, weights[v], sums[r][v]);
        }
    }
}
#else
// Products of bfloat16 are exact in float32, so that only the order of the sums is to be that of GLIC_PAIRS:
// the second of each pair of inputs first.
constexpr int64_t kBfloat16Group = 1;

inline float widened(Bfloat16 value) {
    const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
    float result;
    __builtin_memcpy(&result, &bits, sizeof result);
    return result;
}

template <int kUsed>
inline void multiply_inputs(const Rows<Bfloat16>& rows, const Bfloat16* panel, int64_t depth, Sums& sums) {
    for (int64_t i = 0; i < depth; ++i) {
        const int64_t k = (i ^ 1) < depth ? i ^ 1 : i;
        Vec weights[kUsed];
#pragma GCC unroll 8
        for (int v = 0; v < kUsed; ++v) weights[v] = load(panel + k * kColumns + v * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
            const Vec value = set(widened(rows.at[r][k]));
#pragma GCC unroll 8
            for (int v = 0; v < kUsed; ++v) sums[r][v] = fma(value, weights[v], sums[r][v]);
        }
    }
}
#endif

// sums += rows × the panel of this index.
template <int kUsed = kVectors, typename T>
inline void multiply(const Rows<T>& rows, const ProductWeights& weights, int64_t panel, Sums& sums) {
    multiply_inputs<kUsed>(rows, weights.panel<T>(panel), weights.depth(), sums);
}

template <typename T>
ProductPacking packing_of();
template <>
inline ProductPacking packing_of<float>() {
    return {GLIC_FLOAT32, kColumns, 1};
}
template <>
inline ProductPacking packing_of<Bfloat16>() {
    return {GLIC_BFLOAT16, kColumns, kBfloat16Group};
}

// Adds to `count` rows of results, `stride` apart, the sums of the outputs from `column` on; without kAdd,
// writes them. There are `outputs` outputs.
template <bool kAdd>
inline void store_sums(const Sums& sums, int64_t count, int64_t column, int64_t outputs, float* results,
                       int64_t stride) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
        if (r >= count) return;
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) {
            const int64_t at = column + v * kWidth, left = outputs - at;
            float* const result = results + r * stride + at;
            if (left >= kWidth) {
                store(result, kAdd ? add(load(result), sums[r][v]) : sums[r][v]);
            } else if (left > 0) {
                const int some = static_cast<int>(left);
                store_some(result, kAdd ? add(load_some(result, some), sums[r][v]) : sums[r][v], some);
            }
        }
    }
}

// Some positions of a map as rows that for_products takes: the map itself if it has that type, else `buffer`,
// with zeros up to the weights' depth.
inline const float* rows_of(const float* map, int64_t, int64_t, int64_t, float*) { return map; }
template <typename T>
inline const T* rows_of(const float* map, int64_t channels, int64_t count, int64_t depth, T* buffer) {
    for (int64_t i = 0; i < count; ++i) {
        T* const row = buffer + i * depth;
        for_vectors(channels, [&](auto whole, int64_t c, int some) {
            store_vector<whole>(row + c, load_vector<whole>(map + i * channels + c, some), some);
        });
        for (int64_t c = channels; c < depth; ++c) row[c] = T{};
    }
    return buffer;
}

// Calls body(sums, row, count, column) with the products of `count` rows of a map, from `row` on, and each
// panel of a weight matrix, whose outputs start at `column`. The sums start at `bias`, or at 0. The map has
// `rows` rows, `stride` apart, with zeros after the inputs up to the weights' depth. A panel meets all rows
// before the next one.
template <typename T, typename Body>
inline void for_products(const T* map, int64_t stride, int64_t rows, const ProductWeights& weights,
                         const float* bias, Body body) {
    for (int64_t panel = 0; panel < weights.panels(); ++panel) {
        const int64_t column = panel * kColumns;
        for (int64_t row = 0; row < rows; row += kRows) {
            const int64_t some = rows - row < kRows ? rows - row : kRows;
            Sums sums;
            start(bias == nullptr ? nullptr : bias + column, sums);
            multiply(Rows<T>(map + row * stride, stride, some), weights, panel, sums);
            body(sums, row, some, column);
        }
    }
}

}  // namespace
}  // namespace GLIC_SIMD
}  // namespace glic
