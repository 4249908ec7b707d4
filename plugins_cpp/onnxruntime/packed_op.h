// Ops whose inputs after the first are constant and packed when a session opens.
#ifndef GLIC_ONNXRUNTIME_PACKED_OP_H
#define GLIC_ONNXRUNTIME_PACKED_OP_H

#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "../integer/integer.h"
#include "custom_op.h"

namespace glic {

// A node's inputs after the first, which have to be constant; the first failure sticks. They refer to this
// reader and to the session.
class ConstantReader {
  public:
    ConstantReader(const OrtKernelInfo* info, size_t count) : info_(info), shapes_(count) {
        for (size_t i = 0; i < count; ++i) constants_.push_back(constant(i + 1, &shapes_[i]));
    }

    OrtStatus* status() const { return status_; }
    const Constant* get() const { return constants_.data(); }

  private:
    Constant constant(size_t index, std::vector<int64_t>* dims) {
        const OrtValue* value = nullptr;
        int constant = 0;
        if (!status_) status_ = api()->KernelInfoGetConstantInput_tensor(info_, index, &constant, &value);
        if (!constant || value == nullptr) {
            const std::string message =
                "glic's integer ops: input " + std::to_string(index) + " has to be constant";
            if (!status_) status_ = error(ORT_INVALID_ARGUMENT, message.c_str());
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
        OrtStatus* status = allocate_output(context, dims.data(), dims.size(), &memory, 0);
        to = static_cast<float*>(memory);
        return status;
    }
};

template <typename Op>
class PackedKernel {
  public:
    using Description = Op;
    static constexpr const char* kProvider = nullptr;

    static OrtStatus* create(const OrtKernelInfo* info, int32_t, PackedKernel** made) try {
        Op op;
        AttributeReader reader{info};
        op.visit(reader);
        if (reader.status) return reader.status;
        const ConstantReader constants(info, Op::kInputs - 1);
        if (constants.status()) return constants.status();
        char message[GLIC_MESSAGE_SIZE];
        auto packed = op.pack(constants.get(), message);
        if (!packed) return error(ORT_INVALID_ARGUMENT, message);
        *made = new PackedKernel(std::move(packed));
        return nullptr;
    } catch (const std::bad_alloc&) {
        return error(ORT_FAIL, "glic's integer ops: out of memory for the weights");
    }

    OrtStatus* compute(OrtKernelContext* context) const {
        const std::string name = std::string("glic::") + Op::kName;
        Maps maps;
        if (OrtStatus* status =
                maps.open(context, name.c_str(), Op::inputs(*packed_), Op::outputs(*packed_))) {
            return status;
        }
        const RuntimeThreads threads(context);
        return status_of(Op::compute(*packed_, maps.from, maps.positions, maps.to, threads.get()), Op::kName);
    }

  private:
    using Packed = typename Op::Packed;

    explicit PackedKernel(std::unique_ptr<const Packed> packed) : packed_(std::move(packed)) {}

    std::unique_ptr<const Packed> packed_;
};

}  // namespace glic

#endif
