// glic::IntegerLinear and glic::IntegerGatedFfn: all inputs but the first are constant and packed when a node
// first runs.
#include <algorithm>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <openvino/op/constant.hpp>
#include <vector>

#include "../integer/integer.h"
#include "extension.h"

namespace glic {
namespace {

// Packed weights, which all clones of a node share.
template <typename Packed>
class Once {
  public:
    template <typename Make>
    const Packed& get(Make make) {
        std::call_once(flag_, [&] { packed_ = make(); });
        return *packed_;
    }

  private:
    std::once_flag flag_;
    std::unique_ptr<const Packed> packed_;
};

// Weights are packed once, and so may not be what another node computes.
void check_constants(const ov::OutputVector& inputs, const char* op) {
    for (size_t i = 1; i < inputs.size(); ++i) {
        OPENVINO_ASSERT(ov::is_type<ov::op::v0::Constant>(inputs[i].get_node_shared_ptr()), op, ": input ", i,
                        " has to be constant");
    }
}

// A node's inputs after the first, as the kernels take them. Refers to the tensors.
class Constants {
  public:
    // weights: the inputs that are int8; all others are int32.
    Constants(const ov::TensorVector& inputs, std::initializer_list<size_t> weights) {
        dims_.reserve(inputs.size());
        for (size_t i = 1; i < inputs.size(); ++i) {
            const bool weight = std::count(weights.begin(), weights.end(), i) != 0;
            const void* values = weight ? static_cast<const void*>(inputs[i].data<const int8_t>())
                                        : static_cast<const void*>(inputs[i].data<const int32_t>());
            dims_.emplace_back(inputs[i]);
            constants_.push_back({dims_.back().shape(), values});
        }
    }
    const Constant* get() const { return constants_.data(); }

  private:
    std::vector<Dims> dims_;
    std::vector<Constant> constants_;
};

// The positions of a map (..., channels).
int64_t positions(const ov::Tensor& map, int64_t channels, const char* op) {
    const Dims dims(map);
    int64_t count = 0;
    char message[GLIC_MESSAGE_SIZE];
    OPENVINO_ASSERT(check_map(op, dims.shape(), channels, &count, message) == GLIC_OK, message);
    return count;
}

class IntegerLinear : public ov::op::Op {
  public:
    OPENVINO_OP("IntegerLinear", "glic");

    IntegerLinear() = default;
    IntegerLinear(const ov::OutputVector& inputs, const ov::frontend::NodeContext& node) : Op(inputs) {
        check_constants(inputs, kName);
        limit_ = node.get_attribute<int64_t>("limit");
        constructor_validate_and_infer_types();
    }

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        auto clone = std::make_shared<IntegerLinear>(*this);
        clone->set_arguments(inputs);
        clone->validate_and_infer_types();
        return clone;
    }
    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        visitor.on_attribute("limit", limit_);
        return true;
    }

    void validate_and_infer_types() override {
        check_inputs(*this, 1 + kLinearConstants);
        ov::PartialShape out = get_input_partial_shape(0);
        const ov::PartialShape& weight = get_input_partial_shape(1);
        if (out.rank().is_static() && out.size() > 0 && weight.rank().is_static() && weight.size() == 2) {
            out[out.size() - 1] = weight[1];
        }
        set_output_type(0, ov::element::f32, out);
    }

    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const Linear& linear = linear_->get([&] { return pack(inputs); });
        const int64_t count = positions(inputs[0], linear.panels.inputs(), kName);
        ov::Shape shape = inputs[0].get_shape();
        shape.back() = static_cast<size_t>(linear.panels.outputs());
        outputs[0].set_shape(shape);
        const RuntimeThreads threads;
        check_result(
            integer_linear(linear, inputs[0].data<float>(), count, outputs[0].data<float>(), threads.get()),
            kName);
        return true;
    }

  private:
    static constexpr const char* kName = "glic::IntegerLinear";

    std::unique_ptr<Linear> pack(const ov::TensorVector& inputs) const {
        char message[GLIC_MESSAGE_SIZE];
        auto linear = make_linear(Constants(inputs, {1}).get(), limit_, message);
        OPENVINO_ASSERT(linear, message);
        return linear;
    }

    int64_t limit_ = 0;
    std::shared_ptr<Once<Linear>> linear_ = std::make_shared<Once<Linear>>();
};

class IntegerGatedFfn : public ov::op::Op {
  public:
    OPENVINO_OP("IntegerGatedFfn", "glic");

    IntegerGatedFfn() = default;
    IntegerGatedFfn(const ov::OutputVector& inputs, const ov::frontend::NodeContext& node) : Op(inputs) {
        check_constants(inputs, kName);
        norm_shift_ = node.get_attribute<int64_t>("norm_shift");
        norm_limit_ = node.get_attribute<int64_t>("norm_limit");
        gate_limit_ = node.get_attribute<int64_t>("gate_limit");
        constructor_validate_and_infer_types();
    }

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        auto clone = std::make_shared<IntegerGatedFfn>(*this);
        clone->set_arguments(inputs);
        clone->validate_and_infer_types();
        return clone;
    }
    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        visitor.on_attribute("norm_shift", norm_shift_);
        visitor.on_attribute("norm_limit", norm_limit_);
        visitor.on_attribute("gate_limit", gate_limit_);
        return true;
    }

    void validate_and_infer_types() override {
        check_inputs(*this, 1 + kGatedFfnConstants);
        set_output_type(0, ov::element::f32, get_input_partial_shape(0));
    }

    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const GatedFfn& ffn = ffn_->get([&] { return pack(inputs); });
        const int64_t count = positions(inputs[0], ffn.project_in.inputs(), kName);
        outputs[0].set_shape(inputs[0].get_shape());
        const RuntimeThreads threads;
        check_result(
            integer_gated_ffn(ffn, inputs[0].data<float>(), count, outputs[0].data<float>(), threads.get()),
            kName);
        return true;
    }

  private:
    static constexpr const char* kName = "glic::IntegerGatedFfn";

    std::unique_ptr<GatedFfn> pack(const ov::TensorVector& inputs) const {
        char message[GLIC_MESSAGE_SIZE];
        auto ffn =
            make_gated_ffn(Constants(inputs, {3, 8}).get(), {norm_shift_, norm_limit_, gate_limit_}, message);
        OPENVINO_ASSERT(ffn, message);
        return ffn;
    }

    int64_t norm_shift_ = 0, norm_limit_ = 0, gate_limit_ = 0;
    std::shared_ptr<Once<GatedFfn>> ffn_ = std::make_shared<Once<GatedFfn>>();
};

}  // namespace

void add_integer_ops(std::vector<ov::Extension::Ptr>* extensions) {
    add_op<IntegerLinear>(extensions);
    add_op<IntegerGatedFfn>(extensions);
}

}  // namespace glic
