// Ops whose inputs after the maps are constant and packed when a session opens.
#ifndef GLIC_ONNXRUNTIME_PACKED_OP_H
#define GLIC_ONNXRUNTIME_PACKED_OP_H

#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "../common/constant.h"
#include "custom_op.h"

namespace glic {

// A node's inputs from `first` on, which have to be constant; the first failure sticks. They refer to this
// reader and to the session.
class ConstantReader {
  public:
    ConstantReader(const OrtKernelInfo* info, size_t first, size_t count) : info_(info), shapes_(count) {
        for (size_t i = 0; i < count; ++i) constants_.push_back(constant(first + i, &shapes_[i]));
    }

    OrtStatus* status() const { return status_; }
    const Constant* get() const { return constants_.data(); }

  private:
    Constant constant(size_t index, std::vector<int64_t>* dims) {
        const OrtValue* value = nullptr;
        int constant = 0;
        if (!status_) status_ = api()->KernelInfoGetConstantInput_tensor(info_, index, &constant, &value);
        if (!constant || value == nullptr) {
            const std::string message = "glic's ops: input " + std::to_string(index) + " has to be constant";
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

    static OrtStatus* create(const OrtKernelInfo* info, int32_t element, PackedKernel** made) try {
        Op op;
        AttributeReader reader{info};
        op.visit(reader);
        if (reader.status) return reader.status;
        const ConstantReader constants(info, Op::kMaps, Op::kInputs - Op::kMaps);
        if (constants.status()) return constants.status();
        char message[GLIC_MESSAGE_SIZE];
        auto packed = op.pack(constants.get(), element, message);
        if (!packed) return error(ORT_INVALID_ARGUMENT, message);
        *made = new PackedKernel(std::move(packed));
        return nullptr;
    } catch (const std::bad_alloc&) {
        return error(ORT_FAIL, "glic's ops: out of memory for the weights");
    }

    OrtStatus* compute(OrtKernelContext* context) const {
        const float* maps[Op::kMaps];
        Shape dims;
        for (size_t i = 0; i < Op::kMaps; ++i) {
            const Input map(context, i);
            if (map.status()) return map.status();
            const glic_shape shape = map.shape();
            if (i == 0) {
                char message[GLIC_MESSAGE_SIZE];
                if (Op::check_map(*packed_, shape, message) != GLIC_OK)
                    return error(ORT_INVALID_ARGUMENT, message);
                dims.assign(shape.dims, shape.dims + shape.rank);
            } else if (!std::equal(dims.begin(), dims.end(), shape.dims, shape.dims + shape.rank)) {
                const std::string message = std::string("glic::") + Op::kName + ": " + Op::kInputNames[i] +
                                            " has another shape than " + Op::kInputNames[0] +
                                            ", expected the same";
                return error(ORT_INVALID_ARGUMENT, message.c_str());
            }
            maps[i] = map.data<float>();
        }
        void* out[Op::kOutputs];
        float* results[Op::kOutputs];
        const glic_shape map{dims.data(), dims.size()};
        for (size_t i = 0; i < Op::kOutputs; ++i) {
            const Shape sides = Op::shape(*packed_, map, i);
            OrtStatus* status = allocate_output(context, sides.data(), sides.size(), &out[i], i);
            if (status) return status;
            results[i] = static_cast<float*>(out[i]);
        }
        const RuntimeThreads threads(context);
        return status_of(Op::compute(*packed_, maps, map, results, threads.get()), Op::kName);
    }

  private:
    using Packed = typename Op::Packed;

    explicit PackedKernel(std::unique_ptr<const Packed> packed) : packed_(std::move(packed)) {}

    std::unique_ptr<const Packed> packed_;
};

}  // namespace glic

#endif
