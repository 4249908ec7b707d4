// One task of the gates: GELU(a)·b over some positions, after a depthwise convolution of both halves or not.
// Lanes are channels, so that memory is read as it lies. Included after a simd header.

#include <algorithm>

#include "kernel.h"

namespace glic {
namespace GLIC_SIMD {
namespace {

// x·Φ(x). Φ's tail beyond |x| is two to the power of a polynomial that was fitted to its logarithm so that
// the largest error of GELU is least; past 5.5 the tail is nothing beside x.
inline Vec gelu(Vec x) {
    const Vec zero = set(0.0f), farthest = set(5.5f);
    const Vec distance = max(x, sub(zero, x));
    const Vec d = min(distance, farthest);
    Vec p = fma(set(3.1520255e-6f), d, set(2.9332406e-7f));
    p = fma(p, d, set(-6.3592818e-4f));
    p = fma(p, d, set(7.8107049e-3f));
    p = fma(p, d, set(-5.3123806e-2f));
    p = fma(p, d, set(-4.5892835e-1f));
    p = fma(p, d, set(-1.15116278f));
    p = fma(p, d, set(-9.9999613e-1f));
    const Vec tail = select(greater(distance, farthest), zero, mul(x, exp2_negative(p)));
    return select(greater(x, zero), sub(x, tail), tail);
}

inline Vec gate(Vec a, Vec b) { return mul(gelu(a), b); }

// Adjacent positions that are convolved together: a value serves each of those that it is a neighbour of.
constexpr int kPositions = 4;

template <bool kWhole>
inline Vec load_vector(const float* p, int some) {
    return kWhole ? load(p) : load_some(p, some);
}

// One vector of channels of `kCount` adjacent results. taps: the rows of x under the filter from the leftmost
// neighbour on, nullptr outside the map; of its columns, [first, last) are inside. kSide: the filter's side
// and all columns inside, or 0.
template <int kSide, int kCount, bool kWhole>
inline void convolve(const float* const* taps, const float* filter, int64_t side, int64_t stride,
                     int64_t first, int64_t last, int some, Vec sums[kCount]) {
    const int64_t k = kSide ? kSide : side;
    for (int i = 0; i < kCount; ++i) sums[i] = set(0.0f);
    for (int64_t row = 0; row < k; ++row) {
        if (taps[row] == nullptr) continue;
        const float* weights = filter + row * k * stride;
        // The next positions' values come from as many places as there are rows and columns, which is more
        // than the processor foresees by itself.
        if (kSide) {
            for (int i = 0; i < kCount; ++i) __builtin_prefetch(taps[row] + (k + kCount - 1 + i) * stride);
        }
        for (int64_t column = kSide ? 0 : first; column < (kSide ? k + kCount - 1 : last); ++column) {
            const Vec value = load_vector<kWhole>(taps[row] + column * stride, some);
            for (int i = 0; i < kCount; ++i) {
                const int64_t tap = column - i;
                if (tap < 0 || tap >= k) continue;
                sums[i] = fma(value, load_vector<kWhole>(weights + tap * stride, some), sums[i]);
            }
        }
    }
}

// One vector of channels of the results at `kCount` adjacent positions.
template <int kSide, int kCount, bool kWhole>
inline void gate_vector(const DepthwiseGateProblem& problem, const float* const* rows, int64_t column,
                        int64_t c, float* out) {
    const int64_t channels = problem.size.channels, stride = 2 * channels, k = problem.size.kernel;
    const int64_t left = column - k / 2;
    const int64_t first = std::max<int64_t>(-left, 0);
    const int64_t last = std::min<int64_t>(k + kCount - 1, problem.size.width - left);
    const int some = kWhole ? kWidth : static_cast<int>(channels - c);
    Vec halves[2][kCount];
    const float* taps[kLargestGateKernel];
    for (int half = 0; half < 2; ++half) {
        const int64_t channel = c + half * channels;
        for (int64_t row = 0; row < k; ++row) {
            taps[row] = rows[row] ? rows[row] + left * stride + channel : nullptr;
        }
        convolve<kSide, kCount, kWhole>(taps, problem.filter + channel, k, stride, first, last, some,
                                        halves[half]);
    }
    for (int i = 0; i < kCount; ++i) {
        const Vec result = gate(halves[0][i], halves[1][i]);
        if (kWhole) {
            store(out + i * channels + c, result);
        } else {
            store_some(out + i * channels + c, result, some);
        }
    }
}

template <int kSide, int kCount>
inline void gate_positions(const DepthwiseGateProblem& problem, const float* const* rows, int64_t column,
                           float* out) {
    int64_t c = 0;
    for (; c + kWidth <= problem.size.channels; c += kWidth) {
        gate_vector<kSide, kCount, true>(problem, rows, column, c, out);
    }
    if (c < problem.size.channels) gate_vector<kSide, kCount, false>(problem, rows, column, c, out);
}

void gate_rows(const DepthwiseGateProblem& problem, int64_t first_row, int64_t last_row) {
    const auto [images, height, width, channels, k] = problem.size;
    const float* rows[kLargestGateKernel];
    for (int64_t row = first_row; row < last_row; ++row) {
        const int64_t image = row / height, y = row % height;
        for (int64_t i = 0; i < k; ++i) {
            const int64_t from = y + i - k / 2;
            const bool inside = from >= 0 && from < height;
            rows[i] = inside ? problem.x + (image * height + from) * width * 2 * channels : nullptr;
        }
        float* out = problem.out + row * width * channels;
        for (int64_t column = 0; column < width;) {
            float* const at = out + column * channels;
            if (k == 3 && column > 0 && column + kPositions < width) {
                gate_positions<3, kPositions>(problem, rows, column, at);
                column += kPositions;
            } else {
                gate_positions<0, 1>(problem, rows, column, at);
                ++column;
            }
        }
    }
}

}  // namespace

void gate_task(const void* argument, size_t index, void*) {
    const GateProblem& problem = *static_cast<const GateProblem*>(argument);
    const int64_t channels = problem.size.channels;
    const int64_t first = static_cast<int64_t>(index) * kGatePositions;
    const int64_t last = std::min(first + kGatePositions, problem.size.positions);
    for (int64_t position = first; position < last; ++position) {
        const float* a = problem.x + position * 2 * channels;
        float* out = problem.out + position * channels;
        int64_t c = 0;
        for (; c + kWidth <= channels; c += kWidth) store(out + c, gate(load(a + c), load(a + channels + c)));
        if (c < channels) {
            const int some = static_cast<int>(channels - c);
            store_some(out + c, gate(load_some(a + c, some), load_some(a + channels + c, some)), some);
        }
    }
}

void depthwise_gate_task(const void* argument, size_t index, void*) {
    const DepthwiseGateProblem& problem = *static_cast<const DepthwiseGateProblem*>(argument);
    const int64_t first = static_cast<int64_t>(index) * kGateRows;
    const int64_t last = std::min(first + kGateRows, problem.size.images * problem.size.height);
    gate_rows(problem, first, last);
}

}  // namespace GLIC_SIMD
}  // namespace glic
