// One task of a projection: some positions of one part of the map, and what each matrix makes of them.
#include "../../common/simd.h"
// The instruction set comes first.
#include <algorithm>

#include "../../common/norm.inl"
#include "../../common/product.inl"
#include "kernel.h"

namespace glic {
namespace GLIC_SIMD {
namespace {

template <typename T>
void multiply_rows(const T* rows, int64_t stride, int64_t count, const ProductWeights& weights,
                   const float* bias, float* out) {
    const int64_t outputs = weights.outputs();
    for_products(rows, stride, count, weights, bias,
                 [&](const Sums& sums, int64_t row, int64_t some, int64_t column) {
                     store_sums<false>(sums, some, column, outputs, out + row * outputs, outputs);
                 });
}

template <typename T>
void task(const void* argument, size_t index, void* scratch) {
    const ProjectionProblem& problem = *static_cast<const ProjectionProblem*>(argument);
    const ProjectionLayer& layer = *problem.layer;
    const int64_t tasks = divided(problem.positions, kProjectionPositions);
    const auto part = static_cast<size_t>(static_cast<int64_t>(index) / tasks);
    const int64_t first = static_cast<int64_t>(index) % tasks * kProjectionPositions;
    const int64_t count = std::min(problem.positions - first, kProjectionPositions);
    const int64_t channels = layer.weights[0].inputs(), depth = layer.weights[0].depth();
    const int64_t position = static_cast<int64_t>(part) * problem.positions + first;
    const float* const x = problem.x + position * channels;
    T* const rows = static_cast<T*>(scratch);
    if (layer.norm) {
        for (int64_t i = 0; i < count; ++i) {
            normalise(x + i * channels, channels, layer.epsilon, rows + i * depth);
            std::fill(rows + i * depth + channels, rows + (i + 1) * depth, T{});
        }
        for (size_t i = 0; i < layer.weights.size(); ++i) {
            multiply_rows(rows, depth, count, layer.weights[i], layer.biases[i].data(),
                          problem.out[i] + position * layer.weights[i].outputs());
        }
        return;
    }
    float* const out = problem.out[0] + position * layer.weights[part].outputs();
    multiply_rows(rows_of(x, channels, count, depth, rows), depth, count, layer.weights[part], nullptr, out);
}

}  // namespace

ProjectionBuild projection_build(int32_t element) {
    if (element == GLIC_BFLOAT16) return {packing_of<Bfloat16>(), task<Bfloat16>};
    return {packing_of<float>(), task<float>};
}

}  // namespace GLIC_SIMD
}  // namespace glic
