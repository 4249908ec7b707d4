#include "../common/groups.h"
#include "../dynamic_knn/dynamic_knn.h"
#if defined(GLIC_CUDA)
#include "../dynamic_knn/dynamic_knn_cuda.h"
#endif
#include "custom_op.h"

namespace glic {
namespace {

template <typename Processor>
struct DynamicKnn {
    static constexpr const char* kName = "DynamicKnn";
    static constexpr size_t kInputs = 2;

    Attributes attributes;
    int32_t element;

    static ONNXTensorElementDataType input_type(size_t index, int32_t element) {
        return index == 0 ? onnx_type(element) : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    }
    static ONNXTensorElementDataType output_type(int32_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32; }
    static void describe(OrtCustomOp*) {}

    OrtStatus* compute(OrtKernelContext* context) const {
        const Input x(context, 0), complexity(context, 1);
        for (const Input* input : {&x, &complexity}) {
            if (input->status()) return input->status();
        }
        glic_dynamic_knn_size size;
        char message[GLIC_MESSAGE_SIZE];
        if (glic_dynamic_knn_check(x.shape(), complexity.shape(), attributes.sampling, attributes.window,
                                   attributes.sample, &size, message) != GLIC_OK) {
            return error(ORT_INVALID_ARGUMENT, message);
        }
        void* graph = nullptr;
        const int64_t groups = Grid{size.images, size.height, size.width, size.sampling}.groups();
        if (OrtStatus* status = allocate_output(context, {size.images, groups, kQueries, kWords}, &graph)) {
            return status;
        }
        return Processor::run(context, size, element, x.data<void>(), complexity.data<float>(),
                              static_cast<int32_t*>(graph));
    }
};

struct Cpu {
    static OrtStatus* run(OrtKernelContext* context, const glic_dynamic_knn_size& size, int32_t element,
                          const void* x, const float* complexity, int32_t* graph) {
        const RuntimeThreads threads(context);
        return status_of(glic_dynamic_knn_cpu(&size, element, x, complexity, graph, threads.get()),
                         "glic::DynamicKnn");
    }
};

#if defined(GLIC_CUDA)
struct Cuda {
    static OrtStatus* run(OrtKernelContext* context, const glic_dynamic_knn_size& size, int32_t element,
                          const void* x, const float* complexity, int32_t* graph) {
        void* stream = nullptr;
        if (OrtStatus* status = gpu_stream(context, &stream)) return status;
        return gpu_status_of(glic_dynamic_knn_cuda(&size, element, x, complexity, graph, stream),
                             "glic::DynamicKnn");
    }
};

struct DynamicKnnOnGpu : DynamicKnn<Cuda> {
    static constexpr const char* kProvider = "CUDAExecutionProvider";
};
#endif

}  // namespace

const OrtCustomOp* dynamic_knn_op(int32_t element) {
    static const CustomOp<DynamicKnn<Cpu>> single(GLIC_FLOAT32), half(GLIC_FLOAT16);
    return element == GLIC_FLOAT16 ? &half : &single;
}

#if defined(GLIC_CUDA)
const OrtCustomOp* dynamic_knn_cuda_op(int32_t element) {
    static const CustomOp<DynamicKnnOnGpu> ops[] = {CustomOp<DynamicKnnOnGpu>(GLIC_FLOAT32),
                                                    CustomOp<DynamicKnnOnGpu>(GLIC_FLOAT16),
                                                    CustomOp<DynamicKnnOnGpu>(GLIC_BFLOAT16)};
    return &ops[element];
}
#endif

}  // namespace glic
