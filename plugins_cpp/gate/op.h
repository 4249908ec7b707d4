// glic::Gate and glic::DepthwiseGate for the glue of the runtimes.
#ifndef GLIC_GATE_OP_H
#define GLIC_GATE_OP_H

#include "../common/op.h"
#include "gate.h"

namespace glic {

struct Gate : Op<signatures::Gate> {
    int check(const glic_shape* in, char* message) { return glic_gate_check(in[0], &size_, message); }
    std::vector<Shape> shapes(const glic_shape* in) const { return {with_channels(in[0], size_.channels)}; }
    int compute(int32_t element, const void* const* in, void* const* out,
                const glic_parallel* threads) const {
        return glic_gate_cpu(&size_, element, in[0], out[0], threads);
    }

  private:
    glic_gate_size size_{};
};

struct DepthwiseGate : Op<signatures::DepthwiseGate> {
    int check(const glic_shape* in, char* message) {
        return glic_depthwise_gate_check(in[0], in[1], &size_, message);
    }
    std::vector<Shape> shapes(const glic_shape* in) const { return {with_channels(in[0], size_.channels)}; }
    int compute(int32_t element, const void* const* in, void* const* out,
                const glic_parallel* threads) const {
        return glic_depthwise_gate_cpu(&size_, element, in[0], floats(in[1]), out[0], threads);
    }

  private:
    glic_depthwise_gate_size size_{};
};

}  // namespace glic

#endif
