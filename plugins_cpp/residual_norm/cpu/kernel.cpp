// One task of ResidualNorm: the sums of some positions, and what they are when normalised. Lanes are
// channels.
#include "../../common/simd.h"
// The instruction set comes first.
#include <algorithm>

#include "../../common/norm.inl"
#include "kernel.h"

namespace glic {
namespace GLIC_SIMD {
namespace {

template <typename T>
void norm_positions(const ResidualNormProblem& problem, int64_t first, int64_t last) {
    const int64_t channels = problem.size.channels;
    for (int64_t position = first; position < last; ++position) {
        float* sums = problem.sum + position * channels;
        T* normed = static_cast<T*>(problem.normed) + position * (channels + 1);
        add_update(problem.x + position * channels,
                   static_cast<const T*>(problem.update) + position * channels, problem.bias, channels, sums);
        normalise(sums, channels, problem.epsilon, normed);
        store_some(normed + channels, set(1.0f), 1);
    }
}

}  // namespace

void residual_norm_task(const void* argument, size_t index, void*) {
    const ResidualNormProblem& problem = *static_cast<const ResidualNormProblem*>(argument);
    const int64_t first = static_cast<int64_t>(index) * kNormPositions;
    const int64_t last = std::min(first + kNormPositions, problem.size.positions);
    if (problem.element == GLIC_BFLOAT16) {
        norm_positions<Bfloat16>(problem, first, last);
    } else {
        norm_positions<float>(problem, first, last);
    }
}

}  // namespace GLIC_SIMD
}  // namespace glic
