// One task of the gates: GELU(a)·b over some positions, after a depthwise convolution of both halves or not.
// Lanes are channels, so that memory is read as it lies.
#include "../../common/simd.h"
// The instruction set comes first.
#include <algorithm>

#include "../../common/depthwise.inl"
#include "../../common/gelu.inl"
#include "kernel.h"

namespace glic {
namespace GLIC_SIMD {
namespace {

// Adjacent positions that are convolved together.
constexpr int kPositions = 4;

template <typename T>
void gate_rows(const DepthwiseGateProblem& problem, int64_t first_row, int64_t last_row) {
    const auto [images, height, width, channels, side] = problem.size;
    const DepthwiseMap<T> map{static_cast<const T*>(problem.x), height, width, 2 * channels, side};
    for_positions<3, kPositions>(
        map, first_row, last_row,
        [&, channels = channels, width = width](auto inner, auto count, const T* const* rows, int64_t row,
                                                int64_t column) {
            T* const out = static_cast<T*>(problem.out) + (row * width + column) * channels;
            for_vectors(channels, [&](auto whole, int64_t c, int some) {
                Vec halves[2][count()];
                for (int half = 0; half < 2; ++half) {
                    const int64_t channel = c + half * channels;
                    for (int i = 0; i < count; ++i) halves[half][i] = set(0.0f);
                    convolve<inner, count, whole>(
                        map, rows, column, channel, problem.filter + channel, some,
                        [](Vec value) { return value; }, halves[half]);
                }
                for (int i = 0; i < count; ++i) {
                    store_vector<whole>(out + i * channels + c, gate(halves[0][i], halves[1][i]), some);
                }
            });
        });
}

template <typename T>
void gate_positions(const GateProblem& problem, int64_t first, int64_t last) {
    const int64_t channels = problem.size.channels;
    for (int64_t position = first; position < last; ++position) {
        const T* a = static_cast<const T*>(problem.x) + position * 2 * channels;
        T* out = static_cast<T*>(problem.out) + position * channels;
        for_vectors(channels, [&](auto whole, int64_t c, int some) {
            const Vec result =
                gate(load_vector<whole>(a + c, some), load_vector<whole>(a + channels + c, some));
            store_vector<whole>(out + c, result, some);
        });
    }
}

}  // namespace

void gate_task(const void* argument, size_t index, void*) {
    const GateProblem& problem = *static_cast<const GateProblem*>(argument);
    const int64_t first = static_cast<int64_t>(index) * kGatePositions;
    const int64_t last = std::min(first + kGatePositions, problem.size.positions);
    if (problem.element == GLIC_BFLOAT16) {
        gate_positions<Bfloat16>(problem, first, last);
    } else {
        gate_positions<float>(problem, first, last);
    }
}

void depthwise_gate_task(const void* argument, size_t index, void*) {
    const DepthwiseGateProblem& problem = *static_cast<const DepthwiseGateProblem*>(argument);
    const int64_t first = static_cast<int64_t>(index) * kGateRows;
    const int64_t last = std::min(first + kGateRows, problem.size.images * problem.size.height);
    if (problem.element == GLIC_BFLOAT16) {
        gate_rows<Bfloat16>(problem, first, last);
    } else {
        gate_rows<float>(problem, first, last);
    }
}

}  // namespace GLIC_SIMD
}  // namespace glic
