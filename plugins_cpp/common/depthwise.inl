// Depthwise convolution of a channels-last map, stride 1, zeros outside. Lanes are channels, so that memory
// is read as it lies; several positions of a row are taken at a time, so that each value is loaded once for
// all the results that it is a neighbour of. Included after a simd header.

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "depthwise.h"
#include "vectors.inl"

namespace glic {
namespace GLIC_SIMD {
namespace {

// A map of `channels` (the distance of two positions) and the side of the filter that goes over it.
template <typename T>
struct DepthwiseMap {
    const T* x;
    int64_t height, width, channels, side;
};

template <int n>
using Int = std::integral_constant<int, n>;

// Calls body(Int<n>()) for each n: compilers do not unroll long loops by themselves, and only then are the sums
// in registers.
template <int... n, typename Body>
inline void for_each(std::integer_sequence<int, n...>, Body body) {
    (body(Int<n>()), ...);
}

// Adds to `sums` one vector of channels, from `channel` on, of the `kCount` adjacent results from `column`
// on. rows: the map's rows under the filter, nullptr outside. filter: side × side × channels, from `channel`
// on. kSide: the filter's side where all columns are inside, else 0. prepare: what is done to a value first.
template <int kSide, int kCount, bool kWhole, typename T, typename Prepare>
inline void convolve(const DepthwiseMap<T>& map, const T* const* rows, int64_t column, int64_t channel,
                     const float* filter, int some, Prepare prepare, Vec sums[kCount]) {
    const int64_t side = kSide ? kSide : map.side, stride = map.channels, left = column - side / 2;
    const int64_t first = kSide ? 0 : std::max<int64_t>(-left, 0);
    const int64_t last = kSide ? side + kCount - 1 : std::min(side + kCount - 1, map.width - left);
    for (int64_t row = 0; row < side; ++row) {
        if (rows[row] == nullptr) continue;
        const T* values = rows[row] + left * stride + channel;
        const float* weights = filter + row * side * stride;
        // The next positions' values come from as many places as there are rows and columns, which is more
        // than the processor foresees by itself.
        if (kSide) {
            for (int i = 0; i < kCount; ++i) __builtin_prefetch(values + (side + kCount - 1 + i) * stride);
        }
        const auto add_tap = [&](auto tap) {
            const Vec value = prepare(load_vector<kWhole>(values + tap * stride, some));
#pragma GCC unroll 8
            for (int i = 0; i < kCount; ++i) {
                if (tap < i || tap - i >= side) continue;
                sums[i] = fma(value, load_vector<kWhole>(weights + (tap - i) * stride, some), sums[i]);
            }
        };
        if constexpr (kSide > 0) {
            for_each(std::make_integer_sequence<int, kSide + kCount - 1>(), add_tap);
        } else {
            for (int64_t tap = first; tap < last; ++tap) add_tap(tap);
        }
    }
}

// Calls body(Int<side or 0>, Int<count>, rows, row, column) for all positions of some rows of one or more
// maps, `kPositions` of them at a time where a filter of side kSide is inside the map.
template <int kSide, int kPositions, typename T, typename Body>
inline void for_positions(const DepthwiseMap<T>& map, int64_t first_row, int64_t last_row, Body body) {
    const T* rows[kLargestDepthwiseSide];
    const int64_t reach = map.side / 2;
    for (int64_t row = first_row; row < last_row; ++row) {
        const int64_t image = row / map.height, y = row % map.height;
        for (int64_t i = 0; i < map.side; ++i) {
            const int64_t from = y + i - reach;
            const bool inside = from >= 0 && from < map.height;
            rows[i] = inside ? map.x + (image * map.height + from) * map.width * map.channels : nullptr;
        }
        for (int64_t column = 0; column < map.width;) {
            if (map.side == kSide && column >= reach && column + kPositions + reach <= map.width) {
                body(Int<kSide>(), Int<kPositions>(), rows, row, column);
                column += kPositions;
            } else {
                body(Int<0>(), Int<1>(), rows, row, column);
                ++column;
            }
        }
    }
}

}  // namespace
}  // namespace GLIC_SIMD
}  // namespace glic
