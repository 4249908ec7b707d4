// Registers an op class that has kName and a constructor from (inputs, ONNX node).
#ifndef GLIC_OPENVINO_EXTENSION_H
#define GLIC_OPENVINO_EXTENSION_H

#include <memory>
#include <openvino/core/op_extension.hpp>
#include <openvino/frontend/onnx/extension/conversion.hpp>
#include <vector>

#include "op.h"

namespace glic {

template <typename Op>
void add_op(std::vector<ov::Extension::Ptr>* extensions) {
    extensions->push_back(std::make_shared<ov::OpExtension<Op>>());
    extensions->push_back(std::make_shared<ov::frontend::onnx::ConversionExtension>(
        Op::get_type_info_static().name, "glic", [](const ov::frontend::NodeContext& node) {
            return std::make_shared<Op>(inputs_of(node), node)->outputs();
        }));
}

}  // namespace glic

#endif
