#include <vector>

#include "../gate/gate.h"
#include "../pixel_shuffle/pixel_shuffle.h"
#include "custom_op.h"

namespace glic {
namespace {

template <size_t inputs>
struct FloatOp {
    static constexpr size_t kInputs = inputs;

    NoAttributes attributes;
    int32_t element;

    static ONNXTensorElementDataType input_type(size_t, int32_t) {
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    }
    static ONNXTensorElementDataType output_type(int32_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
    static void describe(OrtCustomOp*) {}
};

struct Gate : FloatOp<1> {
    static constexpr const char* kName = "Gate";

    OrtStatus* compute(OrtKernelContext* context) const {
        const Input x(context, 0);
        if (x.status()) return x.status();
        glic_gate_size size;
        char message[GLIC_MESSAGE_SIZE];
        if (glic_gate_check(x.shape(), &size, message) != GLIC_OK)
            return error(ORT_INVALID_ARGUMENT, message);
        std::vector<int64_t> dims(x.shape().dims, x.shape().dims + x.shape().rank);
        dims.back() = size.channels;
        void* out = nullptr;
        if (OrtStatus* status = allocate_output(context, dims.data(), dims.size(), &out)) return status;
        const RuntimeThreads threads(context);
        return status_of(glic_gate_cpu(&size, x.data<float>(), static_cast<float*>(out), threads.get()),
                         kName);
    }
};

struct DepthwiseGate : FloatOp<2> {
    static constexpr const char* kName = "DepthwiseGate";

    OrtStatus* compute(OrtKernelContext* context) const {
        const Input x(context, 0), filter(context, 1);
        for (const Input* input : {&x, &filter}) {
            if (input->status()) return input->status();
        }
        glic_depthwise_gate_size size;
        char message[GLIC_MESSAGE_SIZE];
        if (glic_depthwise_gate_check(x.shape(), filter.shape(), &size, message) != GLIC_OK) {
            return error(ORT_INVALID_ARGUMENT, message);
        }
        void* out = nullptr;
        if (OrtStatus* status =
                allocate_output(context, {size.images, size.height, size.width, size.channels}, &out)) {
            return status;
        }
        const RuntimeThreads threads(context);
        return status_of(glic_depthwise_gate_cpu(&size, x.data<float>(), filter.data<float>(),
                                                 static_cast<float*>(out), threads.get()),
                         kName);
    }
};

struct PixelShuffle : FloatOp<1> {
    static constexpr const char* kName = "PixelShuffle";

    OrtStatus* compute(OrtKernelContext* context) const {
        const Input x(context, 0);
        if (x.status()) return x.status();
        glic_pixel_shuffle_size size;
        char message[GLIC_MESSAGE_SIZE];
        if (glic_pixel_shuffle_check(x.shape(), &size, message) != GLIC_OK) {
            return error(ORT_INVALID_ARGUMENT, message);
        }
        void* out = nullptr;
        if (OrtStatus* status = allocate_output(
                context, {size.images, size.channels / 4, 2 * size.height, 2 * size.width}, &out)) {
            return status;
        }
        const RuntimeThreads threads(context);
        return status_of(
            glic_pixel_shuffle_cpu(&size, x.data<float>(), static_cast<float*>(out), threads.get()), kName);
    }
};

}  // namespace

const OrtCustomOp* gate_op() {
    static const CustomOp<Gate> op(GLIC_FLOAT32);
    return &op;
}

const OrtCustomOp* depthwise_gate_op() {
    static const CustomOp<DepthwiseGate> op(GLIC_FLOAT32);
    return &op;
}

const OrtCustomOp* pixel_shuffle_op() {
    static const CustomOp<PixelShuffle> op(GLIC_FLOAT32);
    return &op;
}

}  // namespace glic
