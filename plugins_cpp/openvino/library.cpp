// What OpenVINO calls when the library is added to a Core: the ops that the table gives to this library, and
// glic::PixelShuffle as the op that OpenVINO has for it.
#include <openvino/op/depth_to_space.hpp>
#include <type_traits>

#include "extension.h"
#include "glic_ops.h"
#include "map_op.h"
#include "packed_op.h"

namespace glic {
namespace {

// The node of an op: of maps, or of packed weights where the op has them.
template <typename Op, typename = void>
struct NodeOf {
    using Node = MapNode<Op>;
};
template <typename Op>
struct NodeOf<Op, std::void_t<typename Op::Packed>> {
    using Node = PackedNode<Op>;
};

ov::OutputVector pixel_shuffle(const ov::frontend::NodeContext& node) {
    using ov::op::v0::DepthToSpace;
    return std::make_shared<DepthToSpace>(node.get_input(0), DepthToSpace::DepthToSpaceMode::DEPTH_FIRST, 2)
        ->outputs();
}

std::vector<ov::Extension::Ptr> extensions() {
    std::vector<ov::Extension::Ptr> all;
#define GLIC_ADD(Op) add_op<NodeOf<Op>::Node>(&all);
    GLIC_OPS_OF_openvino(GLIC_ADD)
#undef GLIC_ADD
        all.push_back(std::make_shared<ov::frontend::onnx::ConversionExtension>(PixelShuffle::kName, "glic",
                                                                                pixel_shuffle));
    return all;
}

}  // namespace
}  // namespace glic

OPENVINO_CREATE_EXTENSIONS(glic::extensions());
