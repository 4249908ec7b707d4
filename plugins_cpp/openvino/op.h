// What the ops have in common in OpenVINO: their tensors' shapes, the runtime's threads, errors.
#ifndef GLIC_OPENVINO_OP_H
#define GLIC_OPENVINO_OP_H

#include <openvino/core/except.hpp>
#include <openvino/core/extension.hpp>
#include <openvino/core/parallel.hpp>
#include <openvino/frontend/node_context.hpp>
#include <openvino/op/op.hpp>
#include <string>
#include <vector>

#include "../common/kernel.h"

namespace glic {

// A tensor's shape as the kernels take it.
class Dims {
  public:
    explicit Dims(const ov::Tensor& tensor) {
        for (const size_t side : tensor.get_shape()) dims_.push_back(static_cast<int64_t>(side));
    }
    glic_shape shape() const { return {dims_.data(), dims_.size()}; }

  private:
    std::vector<int64_t> dims_;
};

// The threads of the stream that runs the model, so that nothing else competes for its cores.
class RuntimeThreads {
  public:
    const glic_parallel* get() const { return &parallel_; }

  private:
    static void run(void*, size_t count, void (*body)(void*, size_t), void* argument) {
        ov::parallel_for(count, [=](size_t index) { body(argument, index); });
    }

    glic_parallel parallel_{nullptr, static_cast<size_t>(parallel_get_max_threads()), run};
};

// How many inputs a node has to have: none is looked at before.
inline void check_inputs(const ov::Node& node, size_t expected) {
    OPENVINO_ASSERT(node.get_input_size() == expected, "glic::", node.get_type_info().name, " has ",
                    node.get_input_size(), " inputs, expected ", expected);
}

// OpenVINO turns what an op throws into an error of the call that ran it.
inline void check_result(int result, const char* op) {
    OPENVINO_ASSERT(result != GLIC_NO_MEMORY, op, ": out of memory for scratch: lower the number of threads");
    OPENVINO_ASSERT(result == GLIC_OK, op, ": the map is of a type that the kernel does not take");
}

inline int32_t element_of(const ov::Tensor& tensor, const char* op) {
    const ov::element::Type type = tensor.get_element_type();
    if (type == ov::element::f32) return GLIC_FLOAT32;
    if (type == ov::element::f16) return GLIC_FLOAT16;
    OPENVINO_ASSERT(type == ov::element::bf16, op, ": the map is ", type, ", expected f32, f16 or bf16");
    return GLIC_BFLOAT16;
}

inline ov::OutputVector inputs_of(const ov::frontend::NodeContext& node) {
    ov::OutputVector inputs;
    for (size_t i = 0; i < node.get_input_size(); ++i) inputs.push_back(node.get_input(static_cast<int>(i)));
    return inputs;
}

// A node's attributes, the same three for both graph ops. window and sample have their only values as
// defaults.
struct Attributes {
    int64_t sampling = 0, window = 8, sample = 16;

    Attributes() = default;
    explicit Attributes(const ov::frontend::NodeContext& node)
        : sampling(node.get_attribute<int64_t>("sampling")),
          window(node.get_attribute<int64_t>("window", 8)),
          sample(node.get_attribute<int64_t>("sample", 16)) {}

    bool visit(ov::AttributeVisitor& visitor) {
        visitor.on_attribute("sampling", sampling);
        visitor.on_attribute("window", window);
        visitor.on_attribute("sample", sample);
        return true;
    }
};

// An op as OpenVINO loads it, from ONNX and from its own cache.
void add_dynamic_knn(std::vector<ov::Extension::Ptr>* extensions);
void add_scatter_aggregate(std::vector<ov::Extension::Ptr>* extensions);
void add_transform_ops(std::vector<ov::Extension::Ptr>* extensions);
void add_integer_ops(std::vector<ov::Extension::Ptr>* extensions);

}  // namespace glic

#endif
