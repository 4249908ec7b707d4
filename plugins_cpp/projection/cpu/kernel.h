// One task of a projection, as each instruction set builds it: some positions.
#ifndef GLIC_PROJECTION_CPU_KERNEL_H
#define GLIC_PROJECTION_CPU_KERNEL_H

#include <cstdint>

#include "../../common/isa.h"
#include "../projection.h"

namespace glic {

// positions: of each part of the map, the parts one after the other.
struct ProjectionProblem {
    const ProjectionLayer* layer;
    const float* x;
    float* const* out;
    int64_t positions;
};

// The positions of a task.
constexpr int64_t kProjectionPositions = 48;

// What is built for an instruction set and a type of products.
struct ProjectionBuild {
    ProductPacking packing;
    Task task;
};

GLIC_DECLARE_BUILDS(ProjectionBuild projection_build(int32_t element))

}  // namespace glic

#endif
