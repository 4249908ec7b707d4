// Between node-major rows of memory and vectors whose lanes are nodes. Included after a simd header.

namespace glic {
namespace GLIC_SIMD {

// columns[d·kWidth + lane] = rows[lane][d] for d < count. T is float or uint16_t (half precision).
template <typename T>
static inline void load_columns(const T* const rows[kWidth], int64_t count, float* columns) {
    for (int64_t d = 0; d < count; d += kWidth) {
        const int some = static_cast<int>(count - d < kWidth ? count - d : kWidth);
        Vec block[kWidth];
        for (int lane = 0; lane < kWidth; ++lane) block[lane] = load_some(rows[lane] + d, some);
        transpose(block);
        for (int k = 0; k < some; ++k) store(columns + (d + k) * kWidth, block[k]);
    }
}

// rows[lane][d] = columns[d·kWidth + lane] for d < count.
template <typename T>
static inline void store_columns(const float* columns, int64_t count, T* const rows[kWidth]) {
    for (int64_t d = 0; d < count; d += kWidth) {
        const int some = static_cast<int>(count - d < kWidth ? count - d : kWidth);
        Vec block[kWidth];
        for (int k = 0; k < kWidth; ++k) block[k] = k < some ? load(columns + (d + k) * kWidth) : set(0.0f);
        transpose(block);
        for (int lane = 0; lane < kWidth; ++lane) store_some(rows[lane] + d, block[lane], some);
    }
}

// Each lane's vector of `count` columns divided by its norm, which is floored at 1e-12.
static inline void normalise_columns(float* columns, int64_t count) {
    Vec squares = set(0.0f);
    for (int64_t d = 0; d < count; ++d) {
        const Vec value = load(columns + d * kWidth);
        squares = fma(value, value, squares);
    }
    const Vec scale = div(set(1.0f), max(set(1e-12f), sqrt(squares)));
    for (int64_t d = 0; d < count; ++d) store(columns + d * kWidth, mul(load(columns + d * kWidth), scale));
}

// out[d] = row[d], in float32.
template <typename T>
static inline void load_row(const T* row, int64_t count, float* out) {
    for (int64_t d = 0; d < count; d += kWidth) {
        const int some = static_cast<int>(count - d < kWidth ? count - d : kWidth);
        store_some(out + d, load_some(row + d, some), some);
    }
}

// out[d] = row[d] divided by the row's norm, which is floored at 1e-12.
template <typename T>
static inline void load_unit_row(const T* row, int64_t count, float* out) {
    Vec squares = set(0.0f);
    for (int64_t d = 0; d < count; d += kWidth) {
        const int some = static_cast<int>(count - d < kWidth ? count - d : kWidth);
        const Vec value = load_some(row + d, some);
        squares = fma(value, value, squares);
    }
    const Vec scale = div(set(1.0f), max(set(1e-12f), sqrt(set(sum(squares)))));
    for (int64_t d = 0; d < count; d += kWidth) {
        const int some = static_cast<int>(count - d < kWidth ? count - d : kWidth);
        store_some(out + d, mul(load_some(row + d, some), scale), some);
    }
}

}  // namespace GLIC_SIMD
}  // namespace glic
