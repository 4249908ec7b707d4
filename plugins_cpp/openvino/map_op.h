// Ops that compute their outputs from maps alone.
#ifndef GLIC_OPENVINO_MAP_OP_H
#define GLIC_OPENVINO_MAP_OP_H

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "op.h"

namespace glic {

template <typename Description>
class MapNode : public ov::op::Op {
  public:
    OPENVINO_OP(Description::kName, "glic");

    MapNode() = default;
    MapNode(const ov::OutputVector& inputs, const Description& op) : ov::op::Op(inputs), op_(op) {
        constructor_validate_and_infer_types();
    }
    MapNode(const ov::OutputVector& inputs, const ov::frontend::NodeContext& node)
        : MapNode(inputs, attributes_of(node)) {}

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<MapNode>(inputs, op_);
    }
    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        op_.visit(AttributeForwarder{visitor});
        return true;
    }

    void validate_and_infer_types() override {
        check_inputs(*this, Description::kInputs);
        std::vector<ov::Shape> shapes;
        for (size_t i = 0; i < get_input_size() && get_input_partial_shape(i).is_static(); ++i) {
            shapes.push_back(get_input_shape(i));
        }
        const bool known = shapes.size() == Description::kInputs;
        const std::vector<Shape> made = known ? prepared(shapes).second : std::vector<Shape>();
        for (size_t i = 0; i < Description::kOutputs; ++i) {
            set_output_type(i, openvino_type(Description::kOutputTypes[i], get_input_element_type(kTyped)),
                            known    ? ov::PartialShape(ov::Shape(made[i].begin(), made[i].end()))
                            : i == 0 ? expected_shape()
                                     : ov::PartialShape::dynamic());
        }
    }

    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        std::vector<ov::Shape> shapes;
        std::vector<const void*> from;
        const std::string name = std::string("glic::") + Description::kName;
        for (size_t i = 0; i < inputs.size(); ++i) {
            check_type(inputs, i, name);
            shapes.push_back(inputs[i].get_shape());
            from.push_back(inputs[i].data());
        }
        const auto [op, made] = prepared(shapes);
        std::vector<void*> to;
        for (size_t i = 0; i < Description::kOutputs; ++i) {
            outputs[i].set_shape(ov::Shape(made[i].begin(), made[i].end()));
            to.push_back(outputs[i].data());
        }
        const RuntimeThreads threads;
        const int32_t element = element_of(inputs[kTyped], name.c_str());
        check_result(op.compute(element, from.data(), to.data(), threads.get()), name.c_str());
        return true;
    }

  private:
    static constexpr size_t kTyped = first_typed<Description>();

    static void check_type(const ov::TensorVector& inputs, size_t index, const std::string& name) {
        const ov::element::Type type = inputs[index].get_element_type(),
                                first = inputs[kTyped].get_element_type();
        if (Description::kInputTypes[index] != Type::kT) {
            const ov::element::Type fixed = openvino_type(Description::kInputTypes[index], first);
            OPENVINO_ASSERT(type == fixed, name, ": input ", index, " is ", type, ", expected ", fixed);
        } else if (index == kTyped) {
            const bool taken = type == ov::element::f32 || type == ov::element::bf16 ||
                               (Description::kFloat16 && type == ov::element::f16);
            OPENVINO_ASSERT(taken, name, ": input ", index, " is ", type, ", expected f32",
                            Description::kFloat16 ? ", f16" : "", " or bf16");
        } else {
            OPENVINO_ASSERT(type == first, name, ": input ", index, " is ", type,
                            ", expected the type of input ", kTyped, ", ", first);
        }
    }

    // The first output's shape where not all shapes of the inputs are known.
    ov::PartialShape expected_shape() const {
        Shape first;
        const ov::PartialShape& given = get_input_partial_shape(0);
        if (given.rank().is_static()) {
            for (const ov::Dimension& side : given)
                first.push_back(side.is_static() ? side.get_length() : -1);
        }
        const Shape sides = Description::expected(first);
        if (sides.empty()) return ov::PartialShape::dynamic();
        return std::vector<ov::Dimension>(sides.begin(), sides.end());
    }

    static Description attributes_of(const ov::frontend::NodeContext& node) {
        Description op;
        op.visit(AttributeReader{node});
        return op;
    }

    // The kernel for inputs of these shapes, and the shapes of its outputs.
    std::pair<Description, std::vector<Shape>> prepared(const std::vector<ov::Shape>& inputs) const {
        std::vector<Shape> dims;
        for (const ov::Shape& shape : inputs) dims.emplace_back(shape.begin(), shape.end());
        std::vector<glic_shape> shapes;
        for (const Shape& shape : dims) shapes.push_back({shape.data(), shape.size()});
        Description op = op_;
        char message[GLIC_MESSAGE_SIZE];
        OPENVINO_ASSERT(op.check(shapes.data(), message) == GLIC_OK, message);
        return {op, op.shapes(shapes.data())};
    }

    Description op_;
};

}  // namespace glic

#endif
