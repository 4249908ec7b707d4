// Between node-major rows of memory and tiles of two vectors whose lanes are nodes: a value that is broadcast
// serves both. Included after a simd header.

#include <math.h>

namespace glic {
namespace GLIC_SIMD {

// Nodes of a tile, and tiles of a group.
constexpr int kTile = 2 * kWidth;
constexpr int kTiles = 64 / kTile;
// What is broadcast at a time where each takes two accumulators.
constexpr int kBlock = kAccumulators / 2 < 8 ? kAccumulators / 2 : 8;

static inline int some_of(int64_t left) { return static_cast<int>(left < kWidth ? left : kWidth); }

// columns[d·kTile + node] = rows[node][d] for d < count. T is float, Bfloat16 or uint16_t (half precision).
template <typename T>
static inline void load_columns(const T* const rows[kTile], int64_t count, float* columns) {
    for (int vector = 0; vector < kTile; vector += kWidth) {
        for (int64_t d = 0; d < count; d += kWidth) {
            const int some = some_of(count - d);
            Vec block[kWidth];
            for (int lane = 0; lane < kWidth; ++lane) block[lane] = load_some(rows[vector + lane] + d, some);
            transpose(block);
            for (int k = 0; k < some; ++k) store(columns + (d + k) * kTile + vector, block[k]);
        }
    }
}

// rows[node][d] = columns[d·kTile + node] for d < count.
template <typename T>
static inline void store_columns(const float* columns, int64_t count, T* const rows[kTile]) {
    for (int vector = 0; vector < kTile; vector += kWidth) {
        for (int64_t d = 0; d < count; d += kWidth) {
            const int some = some_of(count - d);
            Vec block[kWidth];
            for (int k = 0; k < kWidth; ++k) {
                block[k] = k < some ? load(columns + (d + k) * kTile + vector) : set(0.0f);
            }
            transpose(block);
            for (int lane = 0; lane < kWidth; ++lane) store_some(rows[vector + lane] + d, block[lane], some);
        }
    }
}

// Each node's vector of `count` columns divided by its norm, which is floored at 1e-12.
static inline void normalise_columns(float* columns, int64_t count) {
    for (int vector = 0; vector < kTile; vector += kWidth) {
        Vec squares = set(0.0f);
        for (int64_t d = 0; d < count; ++d) {
            const Vec value = load(columns + d * kTile + vector);
            squares = fma(value, value, squares);
        }
        const Vec factor = div(set(1.0f), max(set(1e-12f), sqrt(squares)));
        for (int64_t d = 0; d < count; ++d) {
            float* value = columns + d * kTile + vector;
            store(value, mul(load(value), factor));
        }
    }
}

// out[d] = row[d], in float32.
template <typename T>
static inline void load_row(const T* row, int64_t count, float* out) {
    for (int64_t d = 0; d < count; d += kWidth) {
        const int some = some_of(count - d);
        store_some(out + d, load_some(row + d, some), some);
    }
}

// out[d] = row[d] divided by the row's norm, which is floored at 1e-12.
template <typename T>
static inline void load_unit_row(const T* row, int64_t count, float* out) {
    Vec squares = set(0.0f);
    for (int64_t d = 0; d < count; d += kWidth) {
        const int some = some_of(count - d);
        const Vec value = load_some(row + d, some);
        squares = fma(value, value, squares);
    }
    const float norm = sqrtf(sum(squares));
    const Vec factor = set(1.0f / (norm < 1e-12f ? 1e-12f : norm));
    for (int64_t d = 0; d < count; d += kWidth) {
        const int some = some_of(count - d);
        store_some(out + d, mul(load_some(row + d, some), factor), some);
    }
}

// Asks for `count` elements that will be read soon.
template <typename T>
static inline void prefetch(const T* row, int64_t count) {
    for (int64_t byte = 0; byte < count * static_cast<int64_t>(sizeof(T)); byte += 64) {
        __builtin_prefetch(reinterpret_cast<const char*>(row) + byte);
    }
}

}  // namespace GLIC_SIMD
}  // namespace glic
