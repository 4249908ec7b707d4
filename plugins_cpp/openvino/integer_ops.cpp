// glic::IntegerLinear and glic::IntegerGatedFfn: all inputs but the first are constant and packed when a node
// first runs.
#include <memory>
#include <mutex>
#include <openvino/op/constant.hpp>
#include <utility>
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

template <typename T>
const T* values(const ov::Tensor& tensor, size_t expected, const char* op) {
    OPENVINO_ASSERT(tensor.get_size() == expected, op, ": a constant has ", tensor.get_size(),
                    " values, expected ", expected);
    return tensor.data<T>();
}

std::vector<int32_t> vector(const ov::Tensor& tensor, size_t expected, const char* op) {
    const int32_t* first = values<int32_t>(tensor, expected, op);
    return {first, first + expected};
}

// A weight matrix (inputs, outputs), its bias and its shifts: three inputs from `index` on.
Panels panels(const ov::TensorVector& inputs, size_t index, bool halves, const char* op) {
    const ov::Shape shape = inputs[index].get_shape();
    OPENVINO_ASSERT(shape.size() == 2 && shape[0] > 0 && shape[1] > 0 && !(halves && shape[1] % 2), op,
                    ": input ", index, " is ", shape, ", expected a matrix of inputs by outputs");
    return {inputs[index].data<int8_t>(),
            values<int32_t>(inputs[index + 1], shape[1], op),
            values<int32_t>(inputs[index + 2], shape[1], op),
            static_cast<int64_t>(shape[0]),
            static_cast<int64_t>(shape[1]),
            halves};
}

// The positions of a map (..., channels).
int64_t positions(const ov::Tensor& map, int64_t channels, const char* op) {
    const ov::Shape shape = map.get_shape();
    OPENVINO_ASSERT(!shape.empty() && static_cast<int64_t>(shape.back()) == channels, op, ": the map is ",
                    shape, ", expected ", channels, " channels last");
    return static_cast<int64_t>(map.get_size()) / channels;
}

class IntegerLinear : public ov::op::Op {
  public:
    OPENVINO_OP("IntegerLinear", "glic");

    IntegerLinear() = default;
    IntegerLinear(const ov::OutputVector& inputs, const ov::frontend::NodeContext& node) : Op(inputs) {
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
        ov::PartialShape out = get_input_partial_shape(0);
        const ov::PartialShape& weight = get_input_partial_shape(1);
        if (out.rank().is_static() && out.size() > 0 && weight.rank().is_static() && weight.size() == 2) {
            out[out.size() - 1] = weight[1];
        }
        set_output_type(0, ov::element::f32, out);
    }

    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const Panels& linear =
            linear_->get([&] { return std::make_unique<Panels>(panels(inputs, 1, false, kName)); });
        const int64_t count = positions(inputs[0], linear.inputs(), kName);
        ov::Shape shape = inputs[0].get_shape();
        shape.back() = static_cast<size_t>(linear.outputs());
        outputs[0].set_shape(shape);
        const RuntimeThreads threads;
        check_result(integer_linear(linear, static_cast<int32_t>(limit_), inputs[0].data<float>(), count,
                                    outputs[0].data<float>(), threads.get()),
                     kName);
        return true;
    }

  private:
    static constexpr const char* kName = "glic::IntegerLinear";

    int64_t limit_ = 0;
    std::shared_ptr<Once<Panels>> linear_ = std::make_shared<Once<Panels>>();
};

class IntegerGatedFfn : public ov::op::Op {
  public:
    OPENVINO_OP("IntegerGatedFfn", "glic");

    IntegerGatedFfn() = default;
    IntegerGatedFfn(const ov::OutputVector& inputs, const ov::frontend::NodeContext& node) : Op(inputs) {
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
        Panels in = panels(inputs, 3, true, kName), out = panels(inputs, 8, false, kName);
        OPENVINO_ASSERT(in.outputs() == 2 * out.inputs() && out.outputs() == in.inputs(), kName,
                        ": the second product does not lead back to the channels of the stream");
        const size_t channels = static_cast<size_t>(in.inputs()), hidden = static_cast<size_t>(out.inputs());
        UnitNorm norm{vector(inputs[1], channels, kName), vector(inputs[2], 3072, kName),
                      static_cast<int32_t>(norm_shift_), static_cast<int32_t>(norm_limit_)};
        std::vector<int32_t> gelu = vector(inputs[6], 4096, kName), shift = vector(inputs[7], hidden, kName);
        shift.resize(static_cast<size_t>(in.count() * kPanelColumns / 2));
        return std::make_unique<GatedFfn>(GatedFfn{std::move(norm), std::move(in), std::move(gelu),
                                                   std::move(shift), static_cast<int32_t>(gate_limit_),
                                                   std::move(out)});
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
