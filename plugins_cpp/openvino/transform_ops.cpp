// The transforms' ops on our kernels; glic::PixelShuffle as the op that OpenVINO has for it.
#include "../kernels/transform_ops.h"

#include <openvino/op/depth_to_space.hpp>
#include <string>
#include <utility>

#include "extension.h"

namespace glic {
namespace {

template <typename Kernel>
class TransformNode : public ov::op::Op {
  public:
    OPENVINO_OP(Kernel::kName, "glic");

    TransformNode() = default;
    TransformNode(const ov::OutputVector& inputs, const Kernel& kernel) : Op(inputs), kernel_(kernel) {
        constructor_validate_and_infer_types();
    }
    TransformNode(const ov::OutputVector& inputs, const ov::frontend::NodeContext& node)
        : TransformNode(inputs, attributes_of(node)) {}

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<TransformNode>(inputs, kernel_);
    }
    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        kernel_.visit([&](const char* name, float& value) { visitor.on_attribute(name, value); });
        return true;
    }

    void validate_and_infer_types() override {
        check_inputs(*this, Kernel::kInputs);
        std::vector<ov::Shape> shapes;
        for (size_t i = 0; i < get_input_size() && get_input_partial_shape(i).is_static(); ++i) {
            shapes.push_back(get_input_shape(i));
        }
        const bool known = shapes.size() == Kernel::kInputs;
        const std::vector<Shape> made = known ? prepared(shapes).second : std::vector<Shape>();
        for (size_t i = 0; i < Kernel::kOutputs; ++i) {
            set_output_type(
                i, i < Kernel::kTypedOutputs ? ov::element::f32 : get_input_element_type(Kernel::kTyped),
                known ? ov::PartialShape(ov::Shape(made[i].begin(), made[i].end()))
                      : ov::PartialShape::dynamic());
        }
    }

    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        std::vector<ov::Shape> shapes;
        std::vector<const void*> from;
        const std::string name = std::string("glic::") + Kernel::kName;
        for (size_t i = 0; i < inputs.size(); ++i) {
            const ov::element::Type type = inputs[i].get_element_type();
            OPENVINO_ASSERT(type == ov::element::f32 || (type == ov::element::bf16 && i == Kernel::kTyped),
                            name, ": input ", i, " is ", type, ", expected f32",
                            i == Kernel::kTyped ? " or bf16" : "");
            shapes.push_back(inputs[i].get_shape());
            from.push_back(inputs[i].data());
        }
        const auto [kernel, made] = prepared(shapes);
        std::vector<void*> to;
        for (size_t i = 0; i < Kernel::kOutputs; ++i) {
            outputs[i].set_shape(ov::Shape(made[i].begin(), made[i].end()));
            to.push_back(outputs[i].data());
        }
        const RuntimeThreads threads;
        const int32_t element = element_of(inputs[Kernel::kTyped], name.c_str());
        check_result(kernel.compute(element, from.data(), to.data(), threads.get()), name.c_str());
        return true;
    }

  private:
    static Kernel attributes_of(const ov::frontend::NodeContext& node) {
        Kernel kernel;
        kernel.visit([&](const char* name, float& value) { value = node.get_attribute<float>(name); });
        return kernel;
    }

    // The kernel for inputs of these shapes, and the shapes of its outputs.
    std::pair<Kernel, std::vector<Shape>> prepared(const std::vector<ov::Shape>& inputs) const {
        std::vector<Shape> dims;
        for (const ov::Shape& shape : inputs) dims.emplace_back(shape.begin(), shape.end());
        std::vector<glic_shape> shapes;
        for (const Shape& shape : dims) shapes.push_back({shape.data(), shape.size()});
        Kernel kernel = kernel_;
        char message[GLIC_MESSAGE_SIZE];
        OPENVINO_ASSERT(kernel.check(shapes.data(), message) == GLIC_OK, message);
        return {kernel, kernel.shapes(shapes.data())};
    }

    Kernel kernel_;
};

ov::OutputVector pixel_shuffle(const ov::frontend::NodeContext& node) {
    using ov::op::v0::DepthToSpace;
    return std::make_shared<DepthToSpace>(node.get_input(0), DepthToSpace::DepthToSpaceMode::DEPTH_FIRST, 2)
        ->outputs();
}

}  // namespace

void add_transform_ops(std::vector<ov::Extension::Ptr>* extensions) {
    add_op<TransformNode<Gate>>(extensions);
    add_op<TransformNode<DepthwiseGate>>(extensions);
    add_op<TransformNode<DepthwiseMix>>(extensions);
    add_op<TransformNode<ResidualNorm>>(extensions);
    add_op<TransformNode<WinogradInput>>(extensions);
    add_op<TransformNode<WinogradShuffle>>(extensions);
    extensions->push_back(std::make_shared<ov::frontend::onnx::ConversionExtension>(PixelShuffle::kName,
                                                                                    "glic", pixel_shuffle));
}

}  // namespace glic
