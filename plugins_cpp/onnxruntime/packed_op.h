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
        const Input map(context, 0);
        if (map.status()) return map.status();
        char message[GLIC_MESSAGE_SIZE];
        if (Op::check_map(*packed_, map.shape(), message) != GLIC_OK)
            return error(ORT_INVALID_ARGUMENT, message);
        std::vector<int64_t> dims(map.shape().dims, map.shape().dims + map.shape().rank);
        dims.back() = Op::outputs(*packed_);
        void* out = nullptr;
        if (OrtStatus* status = allocate_output(context, dims.data(), dims.size(), &out, 0)) return status;
        const RuntimeThreads threads(context);
        return status_of(
            Op::compute(*packed_, map.data<float>(), map.shape(), static_cast<float*>(out), threads.get()),
            Op::kName);
    }

  private:
    using Packed = typename Op::Packed;

    explicit PackedKernel(std::unique_ptr<const Packed> packed) : packed_(std::move(packed)) {}

    std::unique_ptr<const Packed> packed_;
};

}  // namespace glic

#endif
