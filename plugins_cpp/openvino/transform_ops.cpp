// glic::Gate and glic::DepthwiseGate on our kernels; glic::PixelShuffle as the op that OpenVINO has for it.
#include <openvino/op/depth_to_space.hpp>

#include "../gate/gate.h"
#include "extension.h"

namespace glic {
namespace {

// The same shape with half the channels, which are last.
ov::PartialShape halved(ov::PartialShape shape) {
    if (shape.rank().is_static() && shape.size() > 0 && shape[shape.size() - 1].is_static()) {
        shape[shape.size() - 1] = shape[shape.size() - 1].get_length() / 2;
    }
    return shape;
}

class Gate : public ov::op::Op {
  public:
    OPENVINO_OP("Gate", "glic");

    Gate() = default;
    explicit Gate(const ov::OutputVector& inputs) : Op(inputs) { constructor_validate_and_infer_types(); }
    Gate(const ov::OutputVector& inputs, const ov::frontend::NodeContext&) : Gate(inputs) {}

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<Gate>(inputs);
    }
    bool visit_attributes(ov::AttributeVisitor&) override { return true; }
    void validate_and_infer_types() override {
        set_output_type(0, ov::element::f32, halved(get_input_partial_shape(0)));
    }

    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        glic_gate_size size;
        char message[GLIC_MESSAGE_SIZE];
        OPENVINO_ASSERT(glic_gate_check(Dims(inputs[0]).shape(), &size, message) == GLIC_OK, message);
        ov::Shape shape = inputs[0].get_shape();
        shape.back() = static_cast<size_t>(size.channels);
        outputs[0].set_shape(shape);
        const RuntimeThreads threads;
        check_result(glic_gate_cpu(&size, inputs[0].data<float>(), outputs[0].data<float>(), threads.get()),
                     "glic::Gate");
        return true;
    }
};

class DepthwiseGate : public ov::op::Op {
  public:
    OPENVINO_OP("DepthwiseGate", "glic");

    DepthwiseGate() = default;
    explicit DepthwiseGate(const ov::OutputVector& inputs) : Op(inputs) {
        constructor_validate_and_infer_types();
    }
    DepthwiseGate(const ov::OutputVector& inputs, const ov::frontend::NodeContext&) : DepthwiseGate(inputs) {}

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<DepthwiseGate>(inputs);
    }
    bool visit_attributes(ov::AttributeVisitor&) override { return true; }
    void validate_and_infer_types() override {
        set_output_type(0, ov::element::f32, halved(get_input_partial_shape(0)));
    }

    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const Dims x(inputs[0]), filter(inputs[1]);
        glic_depthwise_gate_size size;
        char message[GLIC_MESSAGE_SIZE];
        const int checked = glic_depthwise_gate_check(x.shape(), filter.shape(), &size, message);
        OPENVINO_ASSERT(checked == GLIC_OK, message);
        ov::Shape shape = inputs[0].get_shape();
        shape.back() = static_cast<size_t>(size.channels);
        outputs[0].set_shape(shape);
        const RuntimeThreads threads;
        check_result(glic_depthwise_gate_cpu(&size, inputs[0].data<float>(), inputs[1].data<float>(),
                                             outputs[0].data<float>(), threads.get()),
                     "glic::DepthwiseGate");
        return true;
    }
};

ov::OutputVector pixel_shuffle(const ov::frontend::NodeContext& node) {
    using ov::op::v0::DepthToSpace;
    return std::make_shared<DepthToSpace>(node.get_input(0), DepthToSpace::DepthToSpaceMode::DEPTH_FIRST, 2)
        ->outputs();
}

}  // namespace

void add_transform_ops(std::vector<ov::Extension::Ptr>* extensions) {
    add_op<Gate>(extensions);
    add_op<DepthwiseGate>(extensions);
    extensions->push_back(
        std::make_shared<ov::frontend::onnx::ConversionExtension>("PixelShuffle", "glic", pixel_shuffle));
}

}  // namespace glic
