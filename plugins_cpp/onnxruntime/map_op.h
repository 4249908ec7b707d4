// Ops that compute their outputs from maps alone: their kernels on the CPU and on a GPU.
#ifndef GLIC_ONNXRUNTIME_MAP_OP_H
#define GLIC_ONNXRUNTIME_MAP_OP_H

#include <array>

#include "custom_op.h"

namespace glic {

struct Cpu {
    static constexpr const char* kProvider = nullptr;

    template <typename Op>
    static int check(Op& op, const glic_shape* in, char* message) {
        return op.check(in, message);
    }
    template <typename Op>
    static OrtStatus* run(OrtKernelContext* context, const Op& op, int32_t element, const void* const* in,
                          void* const* out) {
        const RuntimeThreads threads(context);
        return status_of(op.compute(element, in, out, threads.get()), Op::kName);
    }
};

struct Cuda {
    static constexpr const char* kProvider = "CUDAExecutionProvider";

    template <typename Op>
    static int check(Op& op, const glic_shape* in, char* message) {
        return op.check_cuda(in, message);
    }
    template <typename Op>
    static OrtStatus* run(OrtKernelContext* context, const Op& op, int32_t element, const void* const* in,
                          void* const* out) {
        void* stream = nullptr;
        if (OrtStatus* status = gpu_stream(context, &stream)) return status;
        GpuWorkspace workspace;
        if (OrtStatus* status = workspace.allocate(context, op.workspace())) return status;
        return gpu_status_of(op.compute_cuda(element, in, out, workspace.get(), stream), Op::kName);
    }
};

template <typename Op, typename Processor>
class MapKernel {
  public:
    using Description = Op;
    static constexpr const char* kProvider = Processor::kProvider;

    static OrtStatus* create(const OrtKernelInfo* info, int32_t element, MapKernel** made) {
        Op op;
        AttributeReader reader{info};
        op.visit(reader);
        if (!reader.status) *made = new MapKernel(op, element);
        return reader.status;
    }

    OrtStatus* compute(OrtKernelContext* context) const {
        std::vector<Input> inputs;
        std::array<glic_shape, Op::kInputs> shapes;
        std::array<const void*, Op::kInputs> from;
        inputs.reserve(Op::kInputs);  // shapes refer to the inputs
        for (size_t i = 0; i < Op::kInputs; ++i) {
            const Input& input = inputs.emplace_back(context, i);
            if (input.status()) return input.status();
            shapes[i] = input.shape();
            from[i] = input.data<void>();
        }
        Op op = op_;
        char message[GLIC_MESSAGE_SIZE];
        if (Processor::check(op, shapes.data(), message) != GLIC_OK)
            return error(ORT_INVALID_ARGUMENT, message);
        std::array<void*, Op::kOutputs> to;
        const std::vector<Shape> made = op.shapes(shapes.data());
        for (size_t i = 0; i < Op::kOutputs; ++i) {
            if (OrtStatus* status = allocate_output(context, made[i].data(), made[i].size(), &to[i], i)) {
                return status;
            }
        }
        return Processor::run(context, op, element_, from.data(), to.data());
    }

  private:
    MapKernel(const Op& op, int32_t element) : op_(op), element_(element) {}

    Op op_;
    int32_t element_;
};

}  // namespace glic

#endif
