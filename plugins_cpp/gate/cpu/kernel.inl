// One task of the gates: GELU(a)·b over some positions, after a depthwise convolution of both halves or not.
// Lanes are channels, so that memory is read as it lies. Included after a simd header.

#include <algorithm>

#include "kernel.h"

namespace glic {
namespace GLIC_SIMD {
namespace {

// x·Φ(x). Φ's tail is the complementary error function by Abramowitz and Stegun, 7.1.26, to 1.5e-7; it is
// small where it is taken from 1 and relative where it is the result.
inline Vec gelu(Vec x) {
    const Vec zero = set(0.0f);
    const Vec magnitude = max(x, sub(zero, x));
    const Vec t = div(set(1.0f), fma(set(0.3275911f * 0.70710678f), magnitude, set(1.0f)));
    Vec p = fma(set(0.5f * 1.061405429f), t, set(0.5f * -1.453152027f));
    p = fma(p, t, set(0.5f * 1.421413741f));
    p = fma(p, t, set(0.5f * -0.284496736f));
    p = fma(p, t, set(0.5f * 0.254829592f));
    const Vec power = exp2_negative(mul(mul(magnitude, magnitude), set(-0.5f * 1.44269504f)));
    const Vec tail = mul(x, mul(mul(p, t), power));
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
