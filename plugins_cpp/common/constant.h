// Inputs of a node that are constant: the kernels of some ops pack them once.
#ifndef GLIC_COMMON_CONSTANT_H
#define GLIC_COMMON_CONSTANT_H

#include <cstddef>
#include <cstdint>

#include "kernel.h"

namespace glic {

// values: of the type that glic_deploy/ops.json gives the input.
struct Constant {
    glic_shape shape;
    const void* values;
};

inline const float* floats(const Constant& constant) { return static_cast<const float*>(constant.values); }

// Whether a map is (..., channels); with `rank` not 0, of that rank. GLIC_OK, or GLIC_INVALID with a message.
int check_map(const char* op, glic_shape map, int64_t channels, size_t rank, char* message);

// How many positions a map that was checked has.
int64_t positions_of(glic_shape map);

}  // namespace glic

#endif
