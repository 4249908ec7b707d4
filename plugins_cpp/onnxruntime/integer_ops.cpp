// glic::IntegerLinear and glic::IntegerGatedFfn: all inputs but the first are constant and packed when a
// session opens.
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "../integer/integer.h"
#include "custom_op.h"

namespace glic {
namespace {

// Reads a node's attributes and constant inputs; the first failure sticks.
class NodeReader {
  public:
    explicit NodeReader(const OrtKernelInfo* info) : info_(info) {}

    OrtStatus* status() const { return status_; }

    int64_t attribute(const char* name) {
        int64_t value = 0;
        if (!status_) status_ = api()->KernelInfoGetAttribute_int64(info_, name, &value);
        return value;
    }

    // The inputs after the first, which have to be constant. They refer to this reader and to the session.
    const Constant* constants(size_t count) {
        shapes_.resize(count);
        for (size_t i = 0; i < count; ++i) constants_.push_back(constant(i + 1, &shapes_[i]));
        return constants_.data();
    }

    void fail(const char* message) {
        if (!status_) status_ = error(ORT_INVALID_ARGUMENT, message);
    }

  private:
    Constant constant(size_t index, std::vector<int64_t>* dims) {
        const OrtValue* value = nullptr;
        int constant = 0;
        if (!status_) status_ = api()->KernelInfoGetConstantInput_tensor(info_, index, &constant, &value);
        if (!constant || value == nullptr) {
            fail(("glic's integer ops: input " + std::to_string(index) + " has to be constant").c_str());
        }
        if (status_) return {};
        OrtTensorTypeAndShapeInfo* info = nullptr;
        size_t rank = 0;
        status_ = api()->GetTensorTypeAndShape(value, &info);
        if (!status_) status_ = api()->GetDimensionsCount(info, &rank);
        dims->resize(rank);
        if (!status_) status_ = api()->GetDimensions(info, dims->data(), rank);
        if (info) api()->ReleaseTensorTypeAndShapeInfo(info);
        void* data = nullptr;
        if (!status_) status_ = api()->GetTensorMutableData(const_cast<OrtValue*>(value), &data);
        return {{dims->data(), dims->size()}, data};
    }

    const OrtKernelInfo* info_;
    OrtStatus* status_ = nullptr;
    std::vector<std::vector<int64_t>> shapes_;
    std::vector<Constant> constants_;
};

// The one computed input (..., channels in) and the output (..., channels out) of a node.
struct Maps {
    const float* from = nullptr;
    float* to = nullptr;
    int64_t positions = 0;

    OrtStatus* open(OrtKernelContext* context, const char* op, int64_t channels_in, int64_t channels_out) {
        const Input input(context, 0);
        if (input.status()) return input.status();
        char message[GLIC_MESSAGE_SIZE];
        if (check_map(op, input.shape(), channels_in, &positions, message) != GLIC_OK) {
            return error(ORT_INVALID_ARGUMENT, message);
        }
        std::vector<int64_t> dims(input.shape().dims, input.shape().dims + input.shape().rank);
        dims.back() = channels_out;
        from = input.data<float>();
        void* memory = nullptr;
        OrtStatus* status = allocate_output(context, dims.data(), dims.size(), &memory);
        to = static_cast<float*>(memory);
        return status;
    }
};

class IntegerLinear {
  public:
    static constexpr const char* kName = "IntegerLinear";
    static constexpr size_t kInputs = 1 + kLinearConstants;
    static constexpr bool is_weight(size_t index) { return index == 1; }

    explicit IntegerLinear(NodeReader& node) {
        const int64_t limit = node.attribute("limit");
        const Constant* constants = node.constants(kLinearConstants);
        if (node.status()) return;
        char message[GLIC_MESSAGE_SIZE];
        linear_ = make_linear(constants, limit, message);
        if (!linear_) node.fail(message);
    }

    OrtStatus* compute(OrtKernelContext* context) const {
        constexpr const char* kOp = "glic::IntegerLinear";
        Maps maps;
        const Panels& panels = linear_->panels;
        if (OrtStatus* status = maps.open(context, kOp, panels.inputs(), panels.outputs())) return status;
        const RuntimeThreads threads(context);
        return status_of(integer_linear(*linear_, maps.from, maps.positions, maps.to, threads.get()), kOp);
    }

  private:
    std::unique_ptr<const Linear> linear_;
};

class IntegerGatedFfn {
  public:
    static constexpr const char* kName = "IntegerGatedFfn";
    static constexpr size_t kInputs = 1 + kGatedFfnConstants;
    static constexpr bool is_weight(size_t index) { return index == 3 || index == 8; }

    explicit IntegerGatedFfn(NodeReader& node) {
        const GatedFfnAttributes attributes{node.attribute("norm_shift"), node.attribute("norm_limit"),
                                            node.attribute("gate_limit")};
        const Constant* constants = node.constants(kGatedFfnConstants);
        if (node.status()) return;
        char message[GLIC_MESSAGE_SIZE];
        ffn_ = make_gated_ffn(constants, attributes, message);
        if (!ffn_) node.fail(message);
    }

    OrtStatus* compute(OrtKernelContext* context) const {
        constexpr const char* kOp = "glic::IntegerGatedFfn";
        Maps maps;
        const int64_t channels = ffn_->project_in.inputs();
        if (OrtStatus* status = maps.open(context, kOp, channels, channels)) return status;
        const RuntimeThreads threads(context);
        return status_of(integer_gated_ffn(*ffn_, maps.from, maps.positions, maps.to, threads.get()), kOp);
    }

  private:
    std::unique_ptr<const GatedFfn> ffn_;
};

template <typename Kernel>
struct IntegerOp : OrtCustomOp {
    IntegerOp() : OrtCustomOp{} {
        version = kApiVersion;
        GetName = [](const OrtCustomOp*) { return Kernel::kName; };
        GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
        GetInputTypeCount = [](const OrtCustomOp*) { return Kernel::kInputs; };
        GetInputType = [](const OrtCustomOp*, size_t index) {
            if (index == 0) return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
            return Kernel::is_weight(index) ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8
                                            : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
        };
        GetOutputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
        GetOutputType = [](const OrtCustomOp*, size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; };
        GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
        GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
        GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
        GetStartVersion = [](const OrtCustomOp*) { return 1; };
        GetEndVersion = [](const OrtCustomOp*) { return 1; };
        CreateKernelV2 = [](const OrtCustomOp*, const OrtApi*, const OrtKernelInfo* info,
                            void** made) -> OrtStatus* {
            try {
                NodeReader node(info);
                auto kernel = std::make_unique<Kernel>(node);
                if (node.status()) return node.status();
                *made = kernel.release();
                return nullptr;
            } catch (const std::bad_alloc&) {
                return error(ORT_FAIL, "glic's integer ops: out of memory for the weights");
            }
        };
        KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
            return static_cast<const Kernel*>(kernel)->compute(context);
        };
        KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    }
};

}  // namespace

const OrtCustomOp* integer_linear_op() {
    static const IntegerOp<IntegerLinear> op;
    return &op;
}

const OrtCustomOp* integer_gated_ffn_op() {
    static const IntegerOp<IntegerGatedFfn> op;
    return &op;
}

}  // namespace glic
