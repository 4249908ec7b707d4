// The transforms' ops on our kernels; glic::PixelShuffle as the op that OpenVINO has for it.
#include <openvino/op/depth_to_space.hpp>

#include "../depthwise_mix/depthwise_mix.h"
#include "../gate/gate.h"
#include "../residual_norm/residual_norm.h"
#include "../winograd/winograd.h"
#include "extension.h"

namespace glic {
namespace {

// The same shape with `change` made to its channels, which are last.
template <typename Change>
ov::PartialShape with_channels(ov::PartialShape shape, Change change) {
    if (shape.rank().is_static() && shape.size() > 0 && shape[shape.size() - 1].is_static()) {
        shape[shape.size() - 1] = change(shape[shape.size() - 1].get_length());
    }
    return shape;
}

ov::PartialShape halved(const ov::PartialShape& shape) {
    return with_channels(shape, [](int64_t channels) { return channels / 2; });
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

class DepthwiseMix : public ov::op::Op {
  public:
    OPENVINO_OP("DepthwiseMix", "glic");

    DepthwiseMix() = default;
    explicit DepthwiseMix(const ov::OutputVector& inputs) : Op(inputs) {
        constructor_validate_and_infer_types();
    }
    DepthwiseMix(const ov::OutputVector& inputs, const ov::frontend::NodeContext&) : DepthwiseMix(inputs) {}

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<DepthwiseMix>(inputs);
    }
    bool visit_attributes(ov::AttributeVisitor&) override { return true; }
    void validate_and_infer_types() override {
        set_output_type(0, ov::element::f32, get_input_partial_shape(0));
    }

    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const Dims x(inputs[0]), before(inputs[1]), filter(inputs[2]), after(inputs[3]);
        glic_depthwise_mix_size size;
        char message[GLIC_MESSAGE_SIZE];
        const int checked = glic_depthwise_mix_check(x.shape(), before.shape(), filter.shape(), after.shape(),
                                                     &size, message);
        OPENVINO_ASSERT(checked == GLIC_OK, message);
        outputs[0].set_shape(inputs[0].get_shape());
        const RuntimeThreads threads;
        check_result(glic_depthwise_mix_cpu(&size, inputs[0].data<float>(), inputs[1].data<float>(),
                                            inputs[2].data<float>(), inputs[3].data<float>(),
                                            outputs[0].data<float>(), threads.get()),
                     "glic::DepthwiseMix");
        return true;
    }
};

class ResidualNorm : public ov::op::Op {
  public:
    OPENVINO_OP("ResidualNorm", "glic");

    ResidualNorm() = default;
    ResidualNorm(const ov::OutputVector& inputs, float epsilon) : Op(inputs), epsilon_(epsilon) {
        constructor_validate_and_infer_types();
    }
    ResidualNorm(const ov::OutputVector& inputs, const ov::frontend::NodeContext& node)
        : ResidualNorm(inputs, node.get_attribute<float>("epsilon")) {}

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<ResidualNorm>(inputs, epsilon_);
    }
    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        visitor.on_attribute("epsilon", epsilon_);
        return true;
    }
    void validate_and_infer_types() override {
        const ov::PartialShape& shape = get_input_partial_shape(0);
        set_output_type(0, ov::element::f32, shape);
        set_output_type(1, ov::element::f32,
                        with_channels(shape, [](int64_t channels) { return channels + 1; }));
    }

    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const Dims x(inputs[0]), update(inputs[1]), bias(inputs[2]);
        glic_residual_norm_size size;
        char message[GLIC_MESSAGE_SIZE];
        const int checked = glic_residual_norm_check(x.shape(), update.shape(), bias.shape(), &size, message);
        OPENVINO_ASSERT(checked == GLIC_OK, message);
        ov::Shape shape = inputs[0].get_shape();
        outputs[0].set_shape(shape);
        ++shape.back();
        outputs[1].set_shape(shape);
        const RuntimeThreads threads;
        check_result(glic_residual_norm_cpu(&size, epsilon_, inputs[0].data<float>(), inputs[1].data<float>(),
                                            inputs[2].data<float>(), outputs[0].data<float>(),
                                            outputs[1].data<float>(), threads.get()),
                     "glic::ResidualNorm");
        return true;
    }

  private:
    float epsilon_ = 0;
};

// A map's four dimensions, or unknown ones.
ov::PartialShape map_of(const ov::PartialShape& shape) {
    return shape.rank().is_static() && shape.size() == 4 ? shape : ov::PartialShape::dynamic(4);
}

class WinogradInput : public ov::op::Op {
  public:
    OPENVINO_OP("WinogradInput", "glic");

    WinogradInput() = default;
    explicit WinogradInput(const ov::OutputVector& inputs) : Op(inputs) {
        constructor_validate_and_infer_types();
    }
    WinogradInput(const ov::OutputVector& inputs, const ov::frontend::NodeContext&) : WinogradInput(inputs) {}

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<WinogradInput>(inputs);
    }
    bool visit_attributes(ov::AttributeVisitor&) override { return true; }
    void validate_and_infer_types() override {
        const ov::PartialShape x = map_of(get_input_partial_shape(0));
        set_output_type(0, ov::element::f32, {36, x[0], x[1] / 4, x[2] / 4, x[3]});
    }

    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        glic_winograd_size size;
        char message[GLIC_MESSAGE_SIZE];
        OPENVINO_ASSERT(glic_winograd_input_check(Dims(inputs[0]).shape(), &size, message) == GLIC_OK,
                        message);
        const ov::Shape& x = inputs[0].get_shape();
        outputs[0].set_shape({36, x[0], x[1] / 4, x[2] / 4, x[3]});
        const RuntimeThreads threads;
        check_result(
            glic_winograd_input_cpu(&size, inputs[0].data<float>(), outputs[0].data<float>(), threads.get()),
            "glic::WinogradInput");
        return true;
    }
};

class WinogradShuffle : public ov::op::Op {
  public:
    OPENVINO_OP("WinogradShuffle", "glic");

    WinogradShuffle() = default;
    explicit WinogradShuffle(const ov::OutputVector& inputs) : Op(inputs) {
        constructor_validate_and_infer_types();
    }
    WinogradShuffle(const ov::OutputVector& inputs, const ov::frontend::NodeContext&)
        : WinogradShuffle(inputs) {}

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<WinogradShuffle>(inputs);
    }
    bool visit_attributes(ov::AttributeVisitor&) override { return true; }
    void validate_and_infer_types() override {
        ov::PartialShape m = get_input_partial_shape(0);
        if (m.rank().is_dynamic() || m.size() != 5) m = ov::PartialShape::dynamic(5);
        set_output_type(0, ov::element::f32, ov::PartialShape{m[1], m[2] * 8, m[3] * 8, m[4] / 4});
    }

    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        glic_winograd_size size;
        char message[GLIC_MESSAGE_SIZE];
        const int checked =
            glic_winograd_shuffle_check(Dims(inputs[0]).shape(), Dims(inputs[1]).shape(), &size, message);
        OPENVINO_ASSERT(checked == GLIC_OK, message);
        const ov::Shape& m = inputs[0].get_shape();
        outputs[0].set_shape({m[1], 8 * m[2], 8 * m[3], m[4] / 4});
        const RuntimeThreads threads;
        check_result(glic_winograd_shuffle_cpu(&size, inputs[0].data<float>(), inputs[1].data<float>(),
                                               outputs[0].data<float>(), threads.get()),
                     "glic::WinogradShuffle");
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
    add_op<DepthwiseMix>(extensions);
    add_op<ResidualNorm>(extensions);
    add_op<WinogradInput>(extensions);
    add_op<WinogradShuffle>(extensions);
    extensions->push_back(
        std::make_shared<ov::frontend::onnx::ConversionExtension>("PixelShuffle", "glic", pixel_shuffle));
}

}  // namespace glic
