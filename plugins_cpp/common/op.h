// What an op's description has: the glue of every runtime is made from it.
#ifndef GLIC_COMMON_OP_H
#define GLIC_COMMON_OP_H

#include <vector>

#include "glic_signatures.h"
#include "kernel.h"

namespace glic {

using Shape = std::vector<int64_t>;

enum class Presence { kRequired, kOptional };

// An op.h derives its ops from this, with the op's signature in glic_deploy/ops.json. An op has, beside what
// is here, and with the shapes of its inputs:
//   check(in, message): as the kernels' check functions; remembers the size of the problem;
//   shapes(in): those of its outputs, after a check;
//   compute(element, in, out, threads): as the kernels, after a check;
// Where the table says "cuda":
//   check_attributes(message), check_cuda(in, message): as check, of the attributes alone, and for the CUDA
//   kernels; workspace(): bytes of device memory that the CUDA kernels need beside, after a check;
//   compute_cuda(element, in, out, workspace, stream): as the CUDA kernels, after a check.
// An op with `maps` in the table, whose other inputs are constant and packed once, has, instead of check,
// shapes and compute:
//   pack(constants, element, message): what it computes, with products of this element where it is one of
//   floats, or nullptr with a message;
//   check_map(packed, map, message): whether its maps, which have one shape, fit;
//   shape(packed, map, i): that of its output i;
//   compute(packed, maps, shape, out, threads): as the kernels, of maps that were checked.
template <typename Signature>
struct Op : Signature {
    // Whether the first output has the first input's shape and may take its memory.
    static constexpr bool kInPlace = false;

    // Calls visitor(name, reference) for each attribute, an int64_t or a float, and
    // visitor(name, reference, Presence::kOptional) for one whose value is a default.
    template <typename Visitor>
    void visit(Visitor&&) {}

    // The first output's shape, as far as the first input's tells it where the others are not known yet. -1
    // is an unknown side, and no sides are an unknown rank, in and out.
    static Shape expected(const Shape&) { return {}; }

    size_t workspace() const { return 0; }

  protected:
    static const float* floats(const void* map) { return static_cast<const float*>(map); }
    static float* floats(void* map) { return static_cast<float*>(map); }
    static const int32_t* integers(const void* map) { return static_cast<const int32_t*>(map); }

    // The shape of a map with other channels, which are last.
    static Shape with_channels(glic_shape map, int64_t channels) {
        Shape shape(map.dims, map.dims + map.rank);
        shape.back() = channels;
        return shape;
    }
};

// Whether the op's maps may have several types.
template <typename AnyOp>
constexpr bool is_typed() {
    for (const Type type : AnyOp::kInputTypes) {
        if (type == Type::kT) return true;
    }
    return false;
}

// The position of the first input of type T, else 0.
template <typename AnyOp>
constexpr size_t first_typed() {
    for (size_t i = 0; i < AnyOp::kInputs; ++i) {
        if (AnyOp::kInputTypes[i] == Type::kT) return i;
    }
    return 0;
}

}  // namespace glic

#endif
