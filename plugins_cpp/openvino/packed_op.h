// Ops whose inputs after the first are constant and packed when a node first runs.
#ifndef GLIC_OPENVINO_PACKED_OP_H
#define GLIC_OPENVINO_PACKED_OP_H

#include <memory>
#include <mutex>
#include <openvino/op/constant.hpp>
#include <string>
#include <vector>

#include "../common/constant.h"
#include "op.h"

namespace glic {

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
inline void check_constants(const ov::OutputVector& inputs, const char* op) {
    for (size_t i = 1; i < inputs.size(); ++i) {
        OPENVINO_ASSERT(ov::is_type<ov::op::v0::Constant>(inputs[i].get_node_shared_ptr()), op, ": input ", i,
                        " has to be constant");
    }
}

// A node's inputs after the first, as the kernels take them. Refers to the tensors.
class Constants {
  public:
    Constants(const ov::TensorVector& inputs, const Type* types) {
        dims_.reserve(inputs.size());
        for (size_t i = 1; i < inputs.size(); ++i) {
            const void* values = types[i] == Type::kInt8
                                     ? static_cast<const void*>(inputs[i].data<const int8_t>())
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

template <typename Description>
class PackedNode : public ov::op::Op {
  public:
    OPENVINO_OP(Description::kName, "glic");

    PackedNode() = default;
    PackedNode(const ov::OutputVector& inputs, const ov::frontend::NodeContext& node) : ov::op::Op(inputs) {
        check_constants(inputs, name().c_str());
        op_.visit(AttributeReader{node});
        constructor_validate_and_infer_types();
    }

    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        auto clone = std::make_shared<PackedNode>(*this);
        clone->set_arguments(inputs);
        clone->validate_and_infer_types();
        return clone;
    }
    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        op_.visit(AttributeForwarder{visitor});
        return true;
    }

    void validate_and_infer_types() override {
        check_inputs(*this, Description::kInputs);
        ov::PartialShape out = get_input_partial_shape(0);
        if (out.rank().is_static() && out.size() > 0) out[out.size() - 1] = channels();
        set_output_type(0, ov::element::f32, out);
    }

    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const Packed& packed = packed_->get([&] { return pack(inputs); });
        const Dims map(inputs[0]);
        char message[GLIC_MESSAGE_SIZE];
        OPENVINO_ASSERT(Description::check_map(packed, map.shape(), message) == GLIC_OK, message);
        const Shape shape = Description::shape(packed, map.shape(), 0);
        outputs[0].set_shape(ov::Shape(shape.begin(), shape.end()));
        const RuntimeThreads threads;
        const float* const maps[] = {inputs[0].data<float>()};
        float* const results[] = {outputs[0].data<float>()};
        check_result(Description::compute(packed, maps, map.shape(), results, threads.get()), name().c_str());
        return true;
    }

  private:
    using Packed = typename Description::Packed;

    static std::string name() { return std::string("glic::") + Description::kName; }

    // The channels that come out: those of the last weight matrix.
    ov::Dimension channels() const {
        for (size_t i = Description::kInputs; i-- > 1;) {
            const ov::PartialShape& weight = get_input_partial_shape(i);
            if (Description::kInputTypes[i] == Type::kInt8) {
                return weight.rank().is_static() && weight.size() == 2 ? weight[1] : ov::Dimension();
            }
        }
        return {};
    }

    std::unique_ptr<Packed> pack(const ov::TensorVector& inputs) const {
        char message[GLIC_MESSAGE_SIZE];
        auto packed = op_.pack(Constants(inputs, Description::kInputTypes).get(), GLIC_FLOAT32, message);
        OPENVINO_ASSERT(packed, message);
        return packed;
    }

    Description op_;
    std::shared_ptr<Once<Packed>> packed_ = std::make_shared<Once<Packed>>();
};

}  // namespace glic

#endif
