// The ops that the table gives to this library, as onnxruntime's custom ops.
#include <type_traits>

#include "glic_ops.h"
#include "map_op.h"
#include "packed_op.h"

namespace glic {
namespace {

// The kernel of an op on the CPU: of maps, or of packed weights where the op has them.
template <typename Op, typename = void>
struct KernelOf {
    using Kernel = MapKernel<Op, Cpu>;
};
template <typename Op>
struct KernelOf<Op, std::void_t<typename Op::Packed>> {
    using Kernel = PackedKernel<Op>;
};

template <typename Kernel, int32_t element>
void add(std::vector<const OrtCustomOp*>* all) {
    static const CustomOp<Kernel> op(element);
    all->push_back(&op);
}

// onnxruntime's CPU provider has maps in float32, and in float16 as far as the op does. Ops of packed weights
// multiply in the type `products`.
template <typename Op, int32_t products>
void add_cpu(std::vector<const OrtCustomOp*>* all) {
    using Kernel = typename KernelOf<Op>::Kernel;
    add<Kernel, std::is_same_v<Kernel, MapKernel<Op, Cpu>> ? GLIC_FLOAT32 : products>(all);
    if constexpr (Op::kFloat16) add<Kernel, GLIC_FLOAT16>(all);
}

#if defined(GLIC_CUDA)
template <typename Op>
void add_cuda(std::vector<const OrtCustomOp*>* all) {
    using Kernel = MapKernel<Op, Cuda>;
    if constexpr (!is_typed<Op>() || Op::kFloat32) add<Kernel, GLIC_FLOAT32>(all);
    if constexpr (is_typed<Op>()) {
        add<Kernel, GLIC_FLOAT16>(all);
        add<Kernel, GLIC_BFLOAT16>(all);
    }
}
#endif

}  // namespace

template <int32_t products>
std::vector<const OrtCustomOp*> ops() {
    std::vector<const OrtCustomOp*> all;
#define GLIC_ADD(Op) add_cpu<Op, products>(&all);
    GLIC_OPS_OF_onnxruntime(GLIC_ADD)
#undef GLIC_ADD
#if defined(GLIC_CUDA)
#define GLIC_ADD(Op) add_cuda<Op>(&all);
        GLIC_OPS_OF_onnxruntime_cuda(GLIC_ADD)
#undef GLIC_ADD
#endif
            return all;
}

template std::vector<const OrtCustomOp*> ops<GLIC_FLOAT32>();
template std::vector<const OrtCustomOp*> ops<GLIC_BFLOAT16>();

}  // namespace glic
