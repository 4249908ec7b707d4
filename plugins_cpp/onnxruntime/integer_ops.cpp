// glic::IntegerLinear and glic::IntegerGatedFfn: all inputs but the first are constant and packed when a
// session opens.
#include <memory>
#include <new>
#include <string>
#include <utility>
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

    int32_t attribute(const char* name) {
        int64_t value = 0;
        if (!status_) status_ = api()->KernelInfoGetAttribute_int64(info_, name, &value);
        return static_cast<int32_t>(value);
    }

    // The values of an input of the expected size; no size is expected where it is 0.
    template <typename T>
    const T* values(size_t index, size_t expected, std::vector<int64_t>* dims = nullptr) {
        const OrtValue* value = nullptr;
        int constant = 0;
        if (!status_) status_ = api()->KernelInfoGetConstantInput_tensor(info_, index, &constant, &value);
        if (!constant) fail("has to be constant", index);
        if (status_) return nullptr;
        OrtTensorTypeAndShapeInfo* shape = nullptr;
        size_t rank = 0, size = 0;
        status_ = api()->GetTensorTypeAndShape(value, &shape);
        if (!status_) status_ = api()->GetDimensionsCount(shape, &rank);
        std::vector<int64_t> found(rank);
        if (!status_) status_ = api()->GetDimensions(shape, found.data(), rank);
        if (!status_) status_ = api()->GetTensorShapeElementCount(shape, &size);
        if (shape) api()->ReleaseTensorTypeAndShapeInfo(shape);
        void* data = nullptr;
        if (!status_) status_ = api()->GetTensorMutableData(const_cast<OrtValue*>(value), &data);
        if (expected != 0 && size != expected) fail("does not have the size that the others imply", index);
        if (dims) *dims = found;
        return status_ ? nullptr : static_cast<const T*>(data);
    }

    std::vector<int32_t> vector(size_t index, size_t expected) {
        const int32_t* first = values<int32_t>(index, expected);
        return first ? std::vector<int32_t>(first, first + expected) : std::vector<int32_t>();
    }

    // A weight matrix (inputs, outputs), its bias and its shifts: three inputs from `index` on.
    std::unique_ptr<Panels> panels(size_t index, bool halves) {
        std::vector<int64_t> dims;
        const int8_t* weight = values<int8_t>(index, 0, &dims);
        if (dims.size() != 2 || dims[0] < 1 || dims[1] < 1 || (halves && dims[1] % 2 != 0)) {
            fail("has to be a matrix of inputs by outputs", index);
        }
        if (status_) return nullptr;
        const size_t outputs = static_cast<size_t>(dims[1]);
        const int32_t* bias = values<int32_t>(index + 1, outputs);
        const int32_t* shift = values<int32_t>(index + 2, outputs);
        if (status_) return nullptr;
        return std::make_unique<Panels>(weight, bias, shift, dims[0], dims[1], halves);
    }

    void fail(const char* problem, size_t index) {
        if (status_) return;
        const std::string message = "glic's integer ops: input " + std::to_string(index) + " " + problem;
        status_ = error(ORT_INVALID_ARGUMENT, message.c_str());
    }

  private:
    const OrtKernelInfo* info_;
    OrtStatus* status_ = nullptr;
};

// The one computed input (..., channels in) and the output (..., channels out) of a node.
struct Maps {
    const float* from = nullptr;
    float* to = nullptr;
    int64_t positions = 1;

    OrtStatus* open(OrtKernelContext* context, int64_t channels_in, int64_t channels_out) {
        const Input input(context, 0);
        if (input.status()) return input.status();
        std::vector<int64_t> dims(input.shape().dims, input.shape().dims + input.shape().rank);
        if (dims.empty() || dims.back() != channels_in) {
            return error(ORT_INVALID_ARGUMENT,
                         "glic's integer ops: the map's channels are not the weights' inputs");
        }
        dims.back() = channels_out;
        for (size_t axis = 0; axis + 1 < dims.size(); ++axis) positions *= dims[axis];
        from = input.data<float>();
        OrtValue* output = nullptr;
        void* memory = nullptr;
        OrtStatus* status = api()->KernelContext_GetOutput(context, 0, dims.data(), dims.size(), &output);
        if (!status) status = api()->GetTensorMutableData(output, &memory);
        to = static_cast<float*>(memory);
        return status;
    }
};

class IntegerLinear {
  public:
    static constexpr const char* kName = "IntegerLinear";
    static constexpr size_t kInputs = 4;
    static constexpr bool is_weight(size_t index) { return index == 1; }

    explicit IntegerLinear(NodeReader& node)
        : limit_(node.attribute("limit")), linear_(node.panels(1, false)) {}

    OrtStatus* compute(OrtKernelContext* context) const {
        Maps maps;
        if (OrtStatus* status = maps.open(context, linear_->inputs(), linear_->outputs())) return status;
        const RuntimeThreads threads(context);
        return status_of(integer_linear(*linear_, limit_, maps.from, maps.positions, maps.to, threads.get()),
                         "glic::IntegerLinear");
    }

  private:
    int32_t limit_;
    std::unique_ptr<Panels> linear_;
};

class IntegerGatedFfn {
  public:
    static constexpr const char* kName = "IntegerGatedFfn";
    static constexpr size_t kInputs = 11;
    static constexpr bool is_weight(size_t index) { return index == 3 || index == 8; }

    explicit IntegerGatedFfn(NodeReader& node) {
        std::unique_ptr<Panels> in = node.panels(3, true), out = node.panels(8, false);
        if (node.status()) return;
        const size_t channels = static_cast<size_t>(in->inputs()),
                     hidden = static_cast<size_t>(out->inputs());
        UnitNorm norm{node.vector(1, channels), node.vector(2, 3072), node.attribute("norm_shift"),
                      node.attribute("norm_limit")};
        std::vector<int32_t> gelu = node.vector(6, 4096), gate_shift = node.vector(7, hidden);
        if (in->outputs() != 2 * out->inputs() || out->outputs() != in->inputs()) {
            node.fail("does not lead back to the channels of the stream", 8);
        }
        gate_shift.resize(static_cast<size_t>(in->count() * kPanelColumns / 2));
        const int32_t gate_limit = node.attribute("gate_limit");
        ffn_ = std::make_unique<GatedFfn>(GatedFfn{std::move(norm), std::move(*in), std::move(gelu),
                                                   std::move(gate_shift), gate_limit, std::move(*out)});
    }

    OrtStatus* compute(OrtKernelContext* context) const {
        Maps maps;
        const int64_t channels = ffn_->project_in.inputs();
        if (OrtStatus* status = maps.open(context, channels, channels)) return status;
        const RuntimeThreads threads(context);
        return status_of(integer_gated_ffn(*ffn_, maps.from, maps.positions, maps.to, threads.get()),
                         "glic::IntegerGatedFfn");
    }

  private:
    std::unique_ptr<GatedFfn> ffn_;
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
