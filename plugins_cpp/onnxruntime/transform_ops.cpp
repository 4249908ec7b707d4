#include <vector>

#include "../depthwise_mix/depthwise_mix.h"
#include "../gate/gate.h"
#include "../pixel_shuffle/pixel_shuffle.h"
#include "../residual_norm/residual_norm.h"
#include "../winograd/winograd.h"
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

struct DepthwiseMix : FloatOp<4> {
    static constexpr const char* kName = "DepthwiseMix";

    OrtStatus* compute(OrtKernelContext* context) const {
        const Input x(context, 0), before(context, 1), filter(context, 2), after(context, 3);
        for (const Input* input : {&x, &before, &filter, &after}) {
            if (input->status()) return input->status();
        }
        glic_depthwise_mix_size size;
        char message[GLIC_MESSAGE_SIZE];
        if (glic_depthwise_mix_check(x.shape(), before.shape(), filter.shape(), after.shape(), &size,
                                     message) != GLIC_OK) {
            return error(ORT_INVALID_ARGUMENT, message);
        }
        void* out = nullptr;
        if (OrtStatus* status = allocate_output(context, x.shape().dims, x.shape().rank, &out)) return status;
        const RuntimeThreads threads(context);
        return status_of(
            glic_depthwise_mix_cpu(&size, x.data<float>(), before.data<float>(), filter.data<float>(),
                                   after.data<float>(), static_cast<float*>(out), threads.get()),
            kName);
    }
};

struct Epsilon {
    float value = 0;

    OrtStatus* read(const OrtKernelInfo* info) {
        return api()->KernelInfoGetAttribute_float(info, "epsilon", &value);
    }
};

struct ResidualNorm {
    static constexpr const char* kName = "ResidualNorm";
    static constexpr size_t kInputs = 3, kOutputs = 2;

    Epsilon attributes;
    int32_t element;

    static ONNXTensorElementDataType input_type(size_t, int32_t) {
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    }
    static ONNXTensorElementDataType output_type(int32_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; }
    static void describe(OrtCustomOp*) {}

    OrtStatus* compute(OrtKernelContext* context) const {
        const Input x(context, 0), update(context, 1), bias(context, 2);
        for (const Input* input : {&x, &update, &bias}) {
            if (input->status()) return input->status();
        }
        glic_residual_norm_size size;
        char message[GLIC_MESSAGE_SIZE];
        if (glic_residual_norm_check(x.shape(), update.shape(), bias.shape(), &size, message) != GLIC_OK) {
            return error(ORT_INVALID_ARGUMENT, message);
        }
        std::vector<int64_t> dims(x.shape().dims, x.shape().dims + x.shape().rank);
        void *sum = nullptr, *normed = nullptr;
        if (OrtStatus* status = allocate_output(context, dims.data(), dims.size(), &sum)) return status;
        ++dims.back();
        if (OrtStatus* status = allocate_output(context, dims.data(), dims.size(), &normed, 1)) return status;
        const RuntimeThreads threads(context);
        return status_of(
            glic_residual_norm_cpu(&size, attributes.value, x.data<float>(), update.data<float>(),
                                   bias.data<float>(), static_cast<float*>(sum), static_cast<float*>(normed),
                                   threads.get()),
            kName);
    }
};

struct WinogradInput : FloatOp<1> {
    static constexpr const char* kName = "WinogradInput";

    OrtStatus* compute(OrtKernelContext* context) const {
        const Input x(context, 0);
        if (x.status()) return x.status();
        glic_winograd_size size;
        char message[GLIC_MESSAGE_SIZE];
        if (glic_winograd_input_check(x.shape(), &size, message) != GLIC_OK) {
            return error(ORT_INVALID_ARGUMENT, message);
        }
        void* out = nullptr;
        if (OrtStatus* status =
                allocate_output(context, {36, size.images, size.rows, size.columns, size.channels}, &out)) {
            return status;
        }
        const RuntimeThreads threads(context);
        return status_of(
            glic_winograd_input_cpu(&size, x.data<float>(), static_cast<float*>(out), threads.get()), kName);
    }
};

struct WinogradShuffle : FloatOp<2> {
    static constexpr const char* kName = "WinogradShuffle";

    OrtStatus* compute(OrtKernelContext* context) const {
        const Input m(context, 0), bias(context, 1);
        for (const Input* input : {&m, &bias}) {
            if (input->status()) return input->status();
        }
        glic_winograd_size size;
        char message[GLIC_MESSAGE_SIZE];
        if (glic_winograd_shuffle_check(m.shape(), bias.shape(), &size, message) != GLIC_OK) {
            return error(ORT_INVALID_ARGUMENT, message);
        }
        void* out = nullptr;
        if (OrtStatus* status = allocate_output(
                context, {size.images, 8 * size.rows, 8 * size.columns, size.channels}, &out)) {
            return status;
        }
        const RuntimeThreads threads(context);
        return status_of(glic_winograd_shuffle_cpu(&size, m.data<float>(), bias.data<float>(),
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

const OrtCustomOp* depthwise_mix_op() {
    static const CustomOp<DepthwiseMix> op(GLIC_FLOAT32);
    return &op;
}

const OrtCustomOp* residual_norm_op() {
    static const CustomOp<ResidualNorm> op(GLIC_FLOAT32);
    return &op;
}

const OrtCustomOp* winograd_input_op() {
    static const CustomOp<WinogradInput> op(GLIC_FLOAT32);
    return &op;
}

const OrtCustomOp* winograd_shuffle_op() {
    static const CustomOp<WinogradShuffle> op(GLIC_FLOAT32);
    return &op;
}

const OrtCustomOp* pixel_shuffle_op() {
    static const CustomOp<PixelShuffle> op(GLIC_FLOAT32);
    return &op;
}

}  // namespace glic
