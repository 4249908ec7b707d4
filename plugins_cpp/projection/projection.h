// glic::Projection and glic::NormQkv: products of a map with constant matrices. README.md beside this file
// defines them.
#ifndef GLIC_PROJECTION_PROJECTION_H
#define GLIC_PROJECTION_PROJECTION_H

#include <cstdint>
#include <memory>
#include <vector>

#include "../common/constant.h"
#include "../common/product.h"
#include "../common/tasks.h"

namespace glic {

// What one or more matrices make of the same positions, packed for one instruction set, whose task alone can
// read it.
struct ProjectionLayer {
    Task task;
    int32_t element;
    // Whether positions are normalised first, with this epsilon.
    bool norm;
    float epsilon;
    // Without `norm`, a matrix for each part of the map, which has as many parts as there are matrices. With
    // it, the matrices of all outputs.
    std::vector<ProductWeights> weights;
    // Of each matrix, with zeros up to whole panels; empty without `norm`.
    std::vector<std::vector<float>> biases;
};

// From the constants of a node: weight, or query and key_value. element: GLIC_FLOAT32 or GLIC_BFLOAT16, the
// type of the products. nullptr, with a message (GLIC_MESSAGE_SIZE bytes), where a constant is not as
// README.md says. Throws std::bad_alloc.
std::unique_ptr<ProjectionLayer> make_projection(const Constant* constants, int32_t element, char* message);
std::unique_ptr<ProjectionLayer> make_norm_qkv(const Constant* constants, float epsilon, int32_t element,
                                               char* message);

// out of x, which has `positions` positions in all. Without a norm there is one output, else one for each
// matrix. Returns GLIC_OK or GLIC_NO_MEMORY.
int project(const ProjectionLayer& layer, const float* x, int64_t positions, float* const* out,
            const glic_parallel* parallel);

}  // namespace glic

#endif
