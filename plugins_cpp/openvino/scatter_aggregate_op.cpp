#include "../scatter_aggregate/scatter_aggregate.h"
#include "extension.h"

namespace glic {
namespace {

constexpr const char* kName = "glic::ScatterAggregate";

class ScatterAggregate : public ov::op::Op {
  public:
    OPENVINO_OP("ScatterAggregate", "glic");

    ScatterAggregate() = default;
    ScatterAggregate(const ov::OutputVector& inputs, const Attributes& attributes)
        : Op(inputs), attributes_(attributes) {
        constructor_validate_and_infer_types();
    }
    ScatterAggregate(const ov::OutputVector& inputs, const ov::frontend::NodeContext& node)
        : ScatterAggregate(inputs, Attributes(node)) {}

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<ScatterAggregate>(inputs, attributes_);
    }
    bool visit_attributes(ov::AttributeVisitor& visitor) override { return attributes_.visit(visitor); }

    void validate_and_infer_types() override {
        check_inputs(*this, 5);
        set_output_type(0, get_input_element_type(0), get_input_partial_shape(0));
    }

    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const Dims q(inputs[0]), kv(inputs[1]), graph(inputs[2]), bias(inputs[3]), scale(inputs[4]);
        glic_scatter_aggregate_size size;
        char message[GLIC_MESSAGE_SIZE];
        const int checked = glic_scatter_aggregate_check(
            q.shape(), kv.shape(), graph.shape(), bias.shape(), scale.shape(), attributes_.sampling,
            attributes_.window, attributes_.sample, &size, message);
        OPENVINO_ASSERT(checked == GLIC_OK, message);
        OPENVINO_ASSERT(inputs[1].get_element_type() == inputs[0].get_element_type(), kName, ": kv is ",
                        inputs[1].get_element_type(), ", expected q's type, ", inputs[0].get_element_type());
        outputs[0].set_shape(inputs[0].get_shape());
        const RuntimeThreads threads;
        check_result(
            glic_scatter_aggregate_cpu(&size, element_of(inputs[0], kName), inputs[0].data(),
                                       inputs[1].data(), inputs[2].data<int32_t>(), inputs[3].data<float>(),
                                       inputs[4].data<float>(), outputs[0].data(), threads.get()),
            kName);
        return true;
    }

  private:
    Attributes attributes_;
};

}  // namespace

void add_scatter_aggregate(std::vector<ov::Extension::Ptr>* extensions) {
    add_op<ScatterAggregate>(extensions);
}

}  // namespace glic
