// The part of an onnxruntime custom op that is the same for every op. Plain C API: no link to onnxruntime.
#ifndef GLIC_ONNXRUNTIME_CUSTOM_OP_H
#define GLIC_ONNXRUNTIME_CUSTOM_OP_H

#include <onnxruntime_c_api.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "../common/kernel.h"

namespace glic {

// The API that the library asks for: 1.18's, for MayInplace. Later runtimes have it too.
constexpr uint32_t kApiVersion = 18;

inline const OrtApi*& api() {
    static const OrtApi* instance = nullptr;
    return instance;
}

inline ONNXTensorElementDataType onnx_type(int32_t element) {
    if (element == GLIC_BFLOAT16) return ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
    return element == GLIC_FLOAT16 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
                                   : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
}

inline OrtStatus* error(OrtErrorCode code, const char* message) { return api()->CreateStatus(code, message); }

// A node's attributes, the same three for both ops. window and sample have their only values as defaults.
struct Attributes {
    int64_t sampling = 0, window = 8, sample = 16;

    OrtStatus* read(const OrtKernelInfo* info) {
        if (OrtStatus* status = api()->KernelInfoGetAttribute_int64(info, "sampling", &sampling))
            return status;
        read_optional(info, "window", &window);
        read_optional(info, "sample", &sample);
        return nullptr;
    }

  private:
    static void read_optional(const OrtKernelInfo* info, const char* name, int64_t* value) {
        int64_t given = 0;
        OrtStatus* status = api()->KernelInfoGetAttribute_int64(info, name, &given);
        if (status == nullptr) *value = given;
        api()->ReleaseStatus(status);
    }
};

// An input of the node that is being computed.
class Input {
  public:
    Input(const OrtKernelContext* context, size_t index) {
        OrtTensorTypeAndShapeInfo* info = nullptr;
        size_t rank = 0;
        status_ = api()->KernelContext_GetInput(context, index, &value_);
        if (!status_) status_ = api()->GetTensorTypeAndShape(value_, &info);
        if (!status_) status_ = api()->GetDimensionsCount(info, &rank);
        dims_.resize(rank);
        if (!status_) status_ = api()->GetDimensions(info, dims_.data(), rank);
        if (info) api()->ReleaseTensorTypeAndShapeInfo(info);
        void* data = nullptr;
        if (!status_) status_ = api()->GetTensorMutableData(const_cast<OrtValue*>(value_), &data);
        data_ = data;
    }

    OrtStatus* status() const { return status_; }
    glic_shape shape() const { return {dims_.data(), dims_.size()}; }
    template <typename T>
    const T* data() const {
        return static_cast<const T*>(data_);
    }

  private:
    const OrtValue* value_ = nullptr;
    OrtStatus* status_ = nullptr;
    std::vector<int64_t> dims_;
    const void* data_ = nullptr;
};

// Memory of an output, the only one where no index is given.
inline OrtStatus* allocate_output(OrtKernelContext* context, const int64_t* dims, size_t rank, void** data,
                                  size_t index = 0) {
    OrtValue* value = nullptr;
    if (OrtStatus* status = api()->KernelContext_GetOutput(context, index, dims, rank, &value)) return status;
    return api()->GetTensorMutableData(value, data);
}
inline OrtStatus* allocate_output(OrtKernelContext* context, std::initializer_list<int64_t> dims,
                                  void** data) {
    return allocate_output(context, dims.begin(), dims.size(), data);
}

// onnxruntime's own intra-op threads.
class RuntimeThreads {
  public:
    explicit RuntimeThreads(const OrtKernelContext* context)
        : parallel_{const_cast<OrtKernelContext*>(context), std::max(1u, std::thread::hardware_concurrency()),
                    run} {}
    const glic_parallel* get() const { return &parallel_; }

  private:
    static void run(void* context, size_t count, void (*body)(void*, size_t), void* argument) {
        // It fails only for a missing context or body.
        api()->ReleaseStatus(api()->KernelContext_ParallelFor(static_cast<const OrtKernelContext*>(context),
                                                              body, count, 0, argument));
    }

    glic_parallel parallel_;
};

// The provider's stream, on which a GPU's kernels belong.
inline OrtStatus* gpu_stream(const OrtKernelContext* context, void** stream) {
    return api()->KernelContext_GetGPUComputeStream(context, stream);
}

inline OrtStatus* gpu_status_of(int result, const char* op) {
    if (result == 0) return nullptr;
    return error(ORT_FAIL, (std::string(op) + ": CUDA error " + std::to_string(result) +
                            " when launching the kernel: see \"On a GPU\" in the documentation")
                               .c_str());
}

inline OrtStatus* status_of(int result, const char* op) {
    if (result == GLIC_OK) return nullptr;
    const char* problem = result == GLIC_NO_MEMORY
                              ? ": out of memory for scratch: lower the number of threads"
                              : ": the map is of a type that the kernel does not take";
    return error(ORT_FAIL, (std::string(op) + problem).c_str());
}

// Which execution provider a kernel class is for: its kProvider, or the CPU's where it has none.
template <typename Kernel, typename = void>
struct ProviderOf {
    static constexpr const char* kName = nullptr;
};
template <typename Kernel>
struct ProviderOf<Kernel, std::void_t<decltype(Kernel::kProvider)>> {
    static constexpr const char* kName = Kernel::kProvider;
};

// How many outputs a kernel class has: its kOutputs, or one.
template <typename Kernel, typename = void>
struct OutputsOf {
    static constexpr size_t kCount = 1;
};
template <typename Kernel>
struct OutputsOf<Kernel, std::void_t<decltype(Kernel::kOutputs)>> {
    static constexpr size_t kCount = Kernel::kOutputs;
};

// Fills the table of callbacks for a kernel class that has
//   kName, kInputs, static input_type(index, element), static output_type(element),
//   members attributes (what is read from the node) and element, and compute(context); kProvider where that
//   is not the CPU's, kOutputs where there is more than one.
template <typename Kernel>
struct CustomOp : OrtCustomOp {
    int32_t element;

    explicit CustomOp(int32_t element_type) : OrtCustomOp{}, element(element_type) {
        version = kApiVersion;
        GetName = [](const OrtCustomOp*) { return Kernel::kName; };
        GetExecutionProviderType = [](const OrtCustomOp*) { return ProviderOf<Kernel>::kName; };
        GetInputTypeCount = [](const OrtCustomOp*) { return Kernel::kInputs; };
        GetInputType = [](const OrtCustomOp* op, size_t index) {
            return Kernel::input_type(index, of(op)->element);
        };
        GetOutputTypeCount = [](const OrtCustomOp*) { return OutputsOf<Kernel>::kCount; };
        GetOutputType = [](const OrtCustomOp* op, size_t) { return Kernel::output_type(of(op)->element); };
        GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
        GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
        GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
        GetStartVersion = [](const OrtCustomOp*) { return 1; };
        GetEndVersion = [](const OrtCustomOp*) { return 1; };
        CreateKernelV2 = [](const OrtCustomOp* op, const OrtApi*, const OrtKernelInfo* info, void** kernel) {
            decltype(Kernel::attributes) attributes;
            OrtStatus* status = attributes.read(info);
            if (!status) *kernel = new Kernel{attributes, of(op)->element};
            return status;
        };
        KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
            return static_cast<const Kernel*>(kernel)->compute(context);
        };
        KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
        Kernel::describe(this);
    }

  private:
    static const CustomOp* of(const OrtCustomOp* op) { return static_cast<const CustomOp*>(op); }
};

// The op for each element type, in library.cpp's order.
const OrtCustomOp* dynamic_knn_op(int32_t element);
const OrtCustomOp* scatter_aggregate_op(int32_t element);

// Ops that the CPU's form of the transforms has; float32 alone.
std::vector<const OrtCustomOp*> transform_ops();

// The graph ops on a GPU; in libraries that are built with GLIC_CUDA.
const OrtCustomOp* dynamic_knn_cuda_op(int32_t element);
const OrtCustomOp* scatter_aggregate_cuda_op(int32_t element);

// Offers the runtime our memory for maps; where that fails its own serves, with some loss of speed.
void register_map_memory();

// Ops of the exact entropy path, which have one type each.
const OrtCustomOp* integer_linear_op();
const OrtCustomOp* integer_gated_ffn_op();

}  // namespace glic

#endif
