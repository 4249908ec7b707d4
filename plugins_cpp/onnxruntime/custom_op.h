// The part of an onnxruntime custom op that is the same for every op. Plain C API: no link to onnxruntime.
#ifndef GLIC_ONNXRUNTIME_CUSTOM_OP_H
#define GLIC_ONNXRUNTIME_CUSTOM_OP_H

#include <onnxruntime_c_api.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "../common/kernel.h"
#include "../common/op.h"

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

inline ONNXTensorElementDataType onnx_type(Type type, int32_t element) {
    switch (type) {
        case Type::kInt32:
            return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
        case Type::kInt8:
            return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
        case Type::kFloat32:
            return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
        case Type::kT:
            break;
    }
    return onnx_type(element);
}

// Reads a node's attributes, as a visitor of an op's; the first failure sticks.
struct AttributeReader {
    const OrtKernelInfo* info;
    OrtStatus* status = nullptr;

    void operator()(const char* name, float& value) {
        if (!status) status = api()->KernelInfoGetAttribute_float(info, name, &value);
    }
    void operator()(const char* name, int64_t& value, Presence presence = Presence::kRequired) {
        if (status) return;
        int64_t given = 0;
        OrtStatus* missing = api()->KernelInfoGetAttribute_int64(info, name, &given);
        if (!missing) value = given;
        if (presence == Presence::kRequired) {
            status = missing;
        } else {
            api()->ReleaseStatus(missing);
        }
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

// Memory of an output.
inline OrtStatus* allocate_output(OrtKernelContext* context, const int64_t* dims, size_t rank, void** data,
                                  size_t index) {
    OrtValue* value = nullptr;
    if (OrtStatus* status = api()->KernelContext_GetOutput(context, index, dims, rank, &value)) return status;
    return api()->GetTensorMutableData(value, data);
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

// Memory of the GPU from the provider's own arena, where the first input is. What is freed goes to later work
// on the same stream.
class GpuWorkspace {
  public:
    GpuWorkspace() = default;
    GpuWorkspace(const GpuWorkspace&) = delete;
    GpuWorkspace& operator=(const GpuWorkspace&) = delete;
    ~GpuWorkspace() {
        if (memory_) allocator_->Free(allocator_, memory_);
        if (allocator_) api()->ReleaseAllocator(allocator_);
    }

    OrtStatus* allocate(OrtKernelContext* context, size_t bytes) {
        if (bytes == 0) return nullptr;
        const OrtValue* input = nullptr;
        const OrtMemoryInfo* place = nullptr;
        OrtStatus* status = api()->KernelContext_GetInput(context, 0, &input);
        if (!status) status = api()->GetTensorMemoryInfo(input, &place);
        if (!status) status = api()->KernelContext_GetAllocator(context, place, &allocator_);
        if (status) return status;
        memory_ = allocator_->Alloc(allocator_, bytes);
        return memory_ ? nullptr
                       : error(ORT_FAIL, "glic's ops: out of GPU memory for scratch: code smaller images");
    }
    void* get() const { return memory_; }

  private:
    OrtAllocator* allocator_ = nullptr;
    void* memory_ = nullptr;
};

inline OrtStatus* gpu_status_of(int result, const char* op) {
    if (result == 0) return nullptr;
    return error(ORT_FAIL, (std::string("glic::") + op + ": CUDA error " + std::to_string(result) +
                            " when launching the kernel: see \"On a GPU\" in the documentation")
                               .c_str());
}

inline OrtStatus* status_of(int result, const char* op) {
    if (result == GLIC_OK) return nullptr;
    const char* problem = result == GLIC_NO_MEMORY
                              ? ": out of memory for scratch: lower the number of threads"
                              : ": the map is of a type that the kernel does not take";
    return error(ORT_FAIL, (std::string("glic::") + op + problem).c_str());
}

// Fills the table of callbacks for a kernel class that has
//   Description, the op as its op.h describes it;
//   kProvider, the execution provider that the kernel is for, nullptr for the CPU's;
//   static create(info, element, &kernel), and compute(context).
template <typename Kernel>
struct CustomOp : OrtCustomOp {
    using Description = typename Kernel::Description;

    int32_t element;

    explicit CustomOp(int32_t element_type) : OrtCustomOp{}, element(element_type) {
        version = kApiVersion;
        GetName = [](const OrtCustomOp*) { return Description::kName; };
        GetExecutionProviderType = [](const OrtCustomOp*) { return Kernel::kProvider; };
        GetInputTypeCount = [](const OrtCustomOp*) { return Description::kInputs; };
        GetInputType = [](const OrtCustomOp* op, size_t index) {
            return onnx_type(Description::kInputTypes[index], of(op)->element);
        };
        GetOutputTypeCount = [](const OrtCustomOp*) { return Description::kOutputs; };
        GetOutputType = [](const OrtCustomOp* op, size_t index) {
            return onnx_type(Description::kOutputTypes[index], of(op)->element);
        };
        GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
        GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
        GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
        GetStartVersion = [](const OrtCustomOp*) { return 1; };
        GetEndVersion = [](const OrtCustomOp*) { return 1; };
        CreateKernelV2 = [](const OrtCustomOp* op, const OrtApi*, const OrtKernelInfo* info, void** made) {
            Kernel* kernel = nullptr;
            OrtStatus* status = Kernel::create(info, of(op)->element, &kernel);
            *made = kernel;
            return status;
        };
        KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
            return static_cast<const Kernel*>(kernel)->compute(context);
        };
        KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
        if (Description::kInPlace) allow_in_place();
    }

  private:
    static const CustomOp* of(const OrtCustomOp* op) { return static_cast<const CustomOp*>(op); }

    // Tells the runtime that the first output has the first input's shape and may take its memory.
    void allow_in_place() {
        InferOutputShapeFn = [](const OrtCustomOp*, OrtShapeInferContext* context) -> OrtStatus* {
            OrtTensorTypeAndShapeInfo* shape = nullptr;
            if (OrtStatus* status = api()->ShapeInferContext_GetInputTypeShape(context, 0, &shape))
                return status;
            return api()->ShapeInferContext_SetOutputTypeShape(context, 0, shape);
        };
        static int first = 0;
        GetMayInplace = [](int** input, int** output) -> size_t {
            *input = *output = &first;
            return 1;
        };
        ReleaseMayInplace = [](int*, int*) {};
    }
};

// All ops of the library, one for each type that the runtime may give them. Ops with packed weights multiply
// in the type `products`, GLIC_FLOAT32 or GLIC_BFLOAT16.
template <int32_t products>
std::vector<const OrtCustomOp*> ops();

// Offers the runtime our memory for maps; where that fails its own serves, with some loss of speed.
void register_map_memory();

}  // namespace glic

#endif
