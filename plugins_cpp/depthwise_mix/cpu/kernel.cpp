// One task of DepthwiseMix: LeakyReLU(x + before) of some rows, convolved.
#include "../../common/simd.h"
// The instruction set comes first.
#include <algorithm>

#include "../../common/depthwise.inl"
#include "kernel.h"

namespace glic {
namespace GLIC_SIMD {
namespace {

// Adjacent positions that are convolved together.
constexpr int kPositions = kAccumulators >= 16 ? 8 : 4;

inline Vec leaky_relu(Vec v) { return max(v, mul(v, set(0.01f))); }

template <typename T>
void mix_rows(const DepthwiseMixProblem& problem, int64_t first_row, int64_t last_row) {
    const auto [images, height, width, channels, side] = problem.size;
    const DepthwiseMap<T> map{static_cast<const T*>(problem.x), height, width, channels, side};
    for_positions<5, kPositions>(
        map, first_row, last_row,
        [&, channels = channels, width = width](auto inner, auto count, const T* const* rows, int64_t row,
                                                int64_t column) {
            T* const out = static_cast<T*>(problem.out) + (row * width + column) * channels;
            for_vectors(channels, [&](auto whole, int64_t c, int some) {
                const Vec before = load_vector<whole>(problem.before + c, some);
                const Vec after = load_vector<whole>(problem.after + c, some);
                Vec sums[count()];
                for (int i = 0; i < count; ++i) sums[i] = after;
                convolve<inner, count, whole>(
                    map, rows, column, c, problem.filter + c, some,
                    [&](Vec value) { return leaky_relu(add(value, before)); }, sums);
                for (int i = 0; i < count; ++i) store_vector<whole>(out + i * channels + c, sums[i], some);
            });
        });
}

}  // namespace

void depthwise_mix_task(const void* argument, size_t index, void*) {
    const DepthwiseMixProblem& problem = *static_cast<const DepthwiseMixProblem*>(argument);
    const int64_t first = static_cast<int64_t>(index) * kMixRows;
    const int64_t last = std::min(first + kMixRows, problem.size.images * problem.size.height);
    if (problem.element == GLIC_BFLOAT16) {
        mix_rows<Bfloat16>(problem, first, last);
    } else {
        mix_rows<float>(problem, first, last);
    }
}

}  // namespace GLIC_SIMD
}  // namespace glic
