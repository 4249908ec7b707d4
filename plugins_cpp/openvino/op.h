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
#include "../common/op.h"

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

// Reads a node's attributes, as a visitor of an op's.
struct AttributeReader {
    const ov::frontend::NodeContext& node;

    template <typename T>
    void operator()(const char* name, T& value, Presence presence = Presence::kRequired) const {
        value = presence == Presence::kRequired ? node.get_attribute<T>(name)
                                                : node.get_attribute<T>(name, value);
    }
};

// Shows an op's attributes to OpenVINO, which reads or writes them.
struct AttributeForwarder {
    ov::AttributeVisitor& visitor;

    template <typename T>
    void operator()(const char* name, T& value, Presence = Presence::kRequired) const {
        visitor.on_attribute(name, value);
    }
};

inline ov::element::Type openvino_type(Type type, ov::element::Type element) {
    if (type == Type::kT) return element;
    return type == Type::kInt32 ? ov::element::i32 : type == Type::kInt8 ? ov::element::i8 : ov::element::f32;
}

}  // namespace glic

#endif
