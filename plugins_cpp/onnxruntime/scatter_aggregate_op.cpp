#include "../scatter_aggregate/scatter_aggregate.h"
#if defined(GLIC_CUDA)
#include "../scatter_aggregate/scatter_aggregate_cuda.h"
#endif
#include "custom_op.h"

namespace glic {
namespace {

template <typename Processor>
struct ScatterAggregate {
    static constexpr const char* kName = "ScatterAggregate";
    static constexpr size_t kInputs = 5;

    Attributes attributes;
    int32_t element;

    static ONNXTensorElementDataType input_type(size_t index, int32_t element) {
        if (index < 2) return onnx_type(element);
        return index == 2 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    }
    static ONNXTensorElementDataType output_type(int32_t element) { return onnx_type(element); }

    // The result has q's shape and may take q's memory: the kernel reads a node's queries before it writes
    // them.
    static void describe(OrtCustomOp* op) {
        op->InferOutputShapeFn = [](const OrtCustomOp*, OrtShapeInferContext* context) -> OrtStatus* {
            OrtTensorTypeAndShapeInfo* shape = nullptr;
            if (OrtStatus* status = api()->ShapeInferContext_GetInputTypeShape(context, 0, &shape))
                return status;
            return api()->ShapeInferContext_SetOutputTypeShape(context, 0, shape);
        };
        static int first = 0;
        op->GetMayInplace = [](int** input, int** output) -> size_t {
            *input = *output = &first;
            return 1;
        };
        op->ReleaseMayInplace = [](int*, int*) {};
    }

    OrtStatus* compute(OrtKernelContext* context) const {
        const Input q(context, 0), kv(context, 1), graph(context, 2), bias(context, 3), scale(context, 4);
        for (const Input* input : {&q, &kv, &graph, &bias, &scale}) {
            if (input->status()) return input->status();
        }
        glic_scatter_aggregate_size size;
        char message[GLIC_MESSAGE_SIZE];
        if (glic_scatter_aggregate_check(q.shape(), kv.shape(), graph.shape(), bias.shape(), scale.shape(),
                                         attributes.sampling, attributes.window, attributes.sample, &size,
                                         message) != GLIC_OK) {
            return error(ORT_INVALID_ARGUMENT, message);
        }
        void* out = nullptr;
        if (OrtStatus* status =
                allocate_output(context, {size.images, size.height, size.width, size.channels}, &out)) {
            return status;
        }
        return Processor::run(context, size, element, q.data<void>(), kv.data<void>(), graph.data<int32_t>(),
                              bias.data<float>(), scale.data<float>(), out);
    }
};

struct Cpu {
    static OrtStatus* run(OrtKernelContext* context, const glic_scatter_aggregate_size& size, int32_t element,
                          const void* q, const void* kv, const int32_t* graph, const float* bias,
                          const float* scale, void* out) {
        const RuntimeThreads threads(context);
        return status_of(
            glic_scatter_aggregate_cpu(&size, element, q, kv, graph, bias, scale, out, threads.get()),
            "glic::ScatterAggregate");
    }
};

#if defined(GLIC_CUDA)
struct Cuda {
    static OrtStatus* run(OrtKernelContext* context, const glic_scatter_aggregate_size& size, int32_t element,
                          const void* q, const void* kv, const int32_t* graph, const float* bias,
                          const float* scale, void* out) {
        void* stream = nullptr;
        if (OrtStatus* status = gpu_stream(context, &stream)) return status;
        return gpu_status_of(
            glic_scatter_aggregate_cuda(&size, element, q, kv, graph, bias, scale, out, stream),
            "glic::ScatterAggregate");
    }
};

struct ScatterAggregateOnGpu : ScatterAggregate<Cuda> {
    static constexpr const char* kProvider = "CUDAExecutionProvider";
};
#endif

}  // namespace

const OrtCustomOp* scatter_aggregate_op(int32_t element) {
    static const CustomOp<ScatterAggregate<Cpu>> single(GLIC_FLOAT32), half(GLIC_FLOAT16);
    return element == GLIC_FLOAT16 ? &half : &single;
}

#if defined(GLIC_CUDA)
const OrtCustomOp* scatter_aggregate_cuda_op(int32_t element) {
    static const CustomOp<ScatterAggregateOnGpu> ops[] = {CustomOp<ScatterAggregateOnGpu>(GLIC_FLOAT32),
                                                          CustomOp<ScatterAggregateOnGpu>(GLIC_FLOAT16),
                                                          CustomOp<ScatterAggregateOnGpu>(GLIC_BFLOAT16)};
    return &ops[element];
}
#endif

}  // namespace glic
