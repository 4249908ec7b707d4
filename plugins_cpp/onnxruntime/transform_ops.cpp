#include "../kernels/transform_ops.h"

#include <array>

#include "custom_op.h"

namespace glic {
namespace {

template <typename Op>
struct TransformKernel {
    static constexpr const char* kName = Op::kName;
    static constexpr size_t kInputs = Op::kInputs, kOutputs = Op::kOutputs;

    struct Attributes {
        Op op;

        OrtStatus* read(const OrtKernelInfo* info) {
            OrtStatus* status = nullptr;
            op.visit([&](const char* name, float& value) {
                if (!status) status = api()->KernelInfoGetAttribute_float(info, name, &value);
            });
            return status;
        }
    } attributes;
    int32_t element;

    static ONNXTensorElementDataType input_type(size_t, int32_t) {
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    }
    static ONNXTensorElementDataType output_type(int32_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
    static void describe(OrtCustomOp*) {}

    OrtStatus* compute(OrtKernelContext* context) const {
        std::vector<Input> inputs;
        std::array<glic_shape, kInputs> shapes;
        std::array<const void*, kInputs> from;
        inputs.reserve(kInputs);  // shapes refer to the inputs
        for (size_t i = 0; i < kInputs; ++i) {
            const Input& input = inputs.emplace_back(context, i);
            if (input.status()) return input.status();
            shapes[i] = input.shape();
            from[i] = input.data<float>();
        }
        Op op = attributes.op;
        char message[GLIC_MESSAGE_SIZE];
        if (op.check(shapes.data(), message) != GLIC_OK) return error(ORT_INVALID_ARGUMENT, message);
        std::array<void*, kOutputs> to;
        const std::vector<Shape> made = op.shapes(shapes.data());
        for (size_t i = 0; i < kOutputs; ++i) {
            if (OrtStatus* status = allocate_output(context, made[i].data(), made[i].size(), &to[i], i)) {
                return status;
            }
        }
        const RuntimeThreads threads(context);
        return status_of(op.compute(element, from.data(), to.data(), threads.get()), kName);
    }
};

template <typename Op>
const OrtCustomOp* the() {
    static const CustomOp<TransformKernel<Op>> op(GLIC_FLOAT32);
    return &op;
}

}  // namespace

std::vector<const OrtCustomOp*> transform_ops() {
    return {the<Gate>(),          the<DepthwiseGate>(),   the<DepthwiseMix>(), the<ResidualNorm>(),
            the<WinogradInput>(), the<WinogradShuffle>(), the<PixelShuffle>()};
}

}  // namespace glic
