#include "../projection.h"

#include <cinttypes>
#include <cmath>

#include "../../common/check.h"
#include "../../common/isa.h"
#include "kernel.h"

namespace glic {
namespace {

ProjectionBuild selected(int32_t element) {
    return element == GLIC_BFLOAT16 ? GLIC_SELECTED_BFLOAT16(projection_build)(element)
                                    : GLIC_SELECTED(projection_build)(element);
}

}  // namespace

std::unique_ptr<ProjectionLayer> make_projection(const Constant* constants, int32_t element, char* message) {
    const glic_shape shape = constants[0].shape;
    Checker check("glic::Projection", message);
    check.sides("weight", shape)
        .that(shape.rank == 2 || (shape.rank == 3 && shape.dims[0] > 0),
              "weight has %zu dimensions, expected inputs, outputs, or matrices before them", shape.rank);
    if (!check.ok()) return nullptr;
    const int64_t matrices = shape.rank == 3 ? shape.dims[0] : 1;
    const int64_t inputs = shape.dims[shape.rank - 2], outputs = shape.dims[shape.rank - 1];
    check.that(inputs > 0 && outputs > 0,
               "weight has %" PRId64 " inputs and %" PRId64 " outputs, expected some", inputs, outputs);
    if (!check.ok()) return nullptr;
    const ProjectionBuild build = selected(element);
    auto layer = std::make_unique<ProjectionLayer>(ProjectionLayer{build.task, element, false, 0, {}, {}});
    for (int64_t i = 0; i < matrices; ++i) {
        layer->weights.emplace_back(floats(constants[0]) + i * inputs * outputs, inputs, outputs, outputs,
                                    build.packing);
    }
    return layer;
}

std::unique_ptr<ProjectionLayer> make_norm_qkv(const Constant* constants, float epsilon, int32_t element,
                                               char* message) {
    Checker check("glic::NormQkv", message);
    check.that(std::isfinite(epsilon) && epsilon >= 0, "epsilon is %g, expected a finite number from 0 on",
               static_cast<double>(epsilon));
    const char* const names[] = {"query", "key_value"};
    for (int i = 0; i < 2; ++i) {
        const glic_shape shape = constants[i].shape;
        check.sides(names[i], shape)
            .that(shape.rank == 2 && shape.dims[0] > 1 && shape.dims[1] > 0 &&
                      shape.dims[0] == constants[0].shape.dims[0],
                  "%s has other sides than expected: channels + 1, as query has, by outputs", names[i]);
        if (!check.ok()) return nullptr;
    }
    const ProjectionBuild build = selected(element);
    auto layer =
        std::make_unique<ProjectionLayer>(ProjectionLayer{build.task, element, true, epsilon, {}, {}});
    for (int i = 0; i < 2; ++i) {
        const int64_t channels = constants[i].shape.dims[0] - 1, outputs = constants[i].shape.dims[1];
        const float* const weight = floats(constants[i]);
        layer->weights.emplace_back(weight, channels, outputs, outputs, build.packing);
        const float* const bias = weight + channels * outputs;
        layer->biases.emplace_back(bias, bias + outputs);
        layer->biases.back().resize(static_cast<size_t>(layer->weights.back().width()));
    }
    return layer;
}

int project(const ProjectionLayer& layer, const float* x, int64_t positions, float* const* out,
            const glic_parallel* parallel) {
    const int64_t parts = layer.norm ? 1 : static_cast<int64_t>(layer.weights.size());
    const ProjectionProblem problem{&layer, x, out, positions / parts};
    const size_t scratch = layer.norm || layer.element == GLIC_BFLOAT16
                               ? static_cast<size_t>(kProjectionPositions * layer.weights[0].depth()) *
                                     element_size(layer.element)
                               : 0;
    const size_t count = static_cast<size_t>(parts) * task_count(problem.positions, kProjectionPositions, {});
    return run_tasks(parallel, count, scratch, layer.task, &problem);
}

}  // namespace glic
