// One task of ResidualNorm: the sums of some positions, and what they are when normalised. Lanes are
// channels.
#include "../../common/simd.h"
// The instruction set comes first.
#include <algorithm>
#include <cmath>

#include "../../common/bfloat16.h"
#include "kernel.h"

namespace glic {
namespace GLIC_SIMD {
namespace {

template <typename T>
void norm_positions(const ResidualNormProblem& problem, int64_t first, int64_t last) {
    const int64_t channels = problem.size.channels, whole = channels - channels % kWidth;
    const int some = static_cast<int>(channels - whole);
    const float share = 1.0f / static_cast<float>(channels);
    for (int64_t position = first; position < last; ++position) {
        const float* x = problem.x + position * channels;
        const T* update = static_cast<const T*>(problem.update) + position * channels;
        const float* bias = problem.bias;
        float* sums = problem.sum + position * channels;
        T* normed = static_cast<T*>(problem.normed) + position * (channels + 1);

        Vec totals = set(0.0f);
        for (int64_t c = 0; c < whole; c += kWidth) {
            const Vec v = add(load(x + c), add(load(update + c), load(bias + c)));
            store(sums + c, v);
            totals = add(totals, v);
        }
        if (some) {
            const Vec v = add(load_some(x + whole, some),
                              add(load_some(update + whole, some), load_some(bias + whole, some)));
            store_some(sums + whole, v, some);
            totals = add(totals, v);
        }
        const Vec mean = set(share * sum(totals));

        Vec squares = set(0.0f);
        for (int64_t c = 0; c < whole; c += kWidth) {
            const Vec v = sub(load(sums + c), mean);
            squares = fma(v, v, squares);
        }
        if (some) {
            const Vec v =
                select(lanes_of((1u << some) - 1), sub(load_some(sums + whole, some), mean), set(0.0f));
            squares = fma(v, v, squares);
        }
        const Vec scale = set(1.0f / std::sqrt(share * sum(squares) + problem.epsilon));

        for (int64_t c = 0; c < whole; c += kWidth) store(normed + c, mul(sub(load(sums + c), mean), scale));
        if (some) store_some(normed + whole, mul(sub(load_some(sums + whole, some), mean), scale), some);
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
