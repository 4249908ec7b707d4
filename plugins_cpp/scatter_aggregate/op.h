// glic::ScatterAggregate for the glue of the runtimes.
#ifndef GLIC_SCATTER_AGGREGATE_OP_H
#define GLIC_SCATTER_AGGREGATE_OP_H

#include "../common/check.h"
#include "../common/groups.h"
#include "../common/op.h"
#include "scatter_aggregate.h"
#include "scatter_aggregate_cuda.h"

namespace glic {

struct ScatterAggregate : Op<signatures::ScatterAggregate> {
    // The kernels read a node's queries before they write its result.
    static constexpr bool kInPlace = true;

    template <typename Visitor>
    void visit(Visitor&& visitor) {
        visitor("sampling", sampling_);
        visitor("window", window_, Presence::kOptional);
        visitor("sample", sample_, Presence::kOptional);
    }
    int check(const glic_shape* in, char* message) {
        return glic_scatter_aggregate_check(in[0], in[1], in[2], in[3], in[4], sampling_, window_, sample_,
                                            &size_, message);
    }
    int check_attributes(char* message) const {
        return Checker("glic::ScatterAggregate", message).attributes(sampling_, window_, sample_).result();
    }
    int check_cuda(const glic_shape* in, char* message) {
        if (check(in, message) != GLIC_OK) return GLIC_INVALID;
        const auto width = static_cast<long long>(size_.channels / size_.heads);
        return Checker("glic::ScatterAggregate", message)
            .that(width <= GLIC_CUDA_MAX_HEAD_WIDTH,
                  "q has heads of %lld channels, expected at most %d on a GPU", width,
                  GLIC_CUDA_MAX_HEAD_WIDTH)
            .result();
    }
    std::vector<Shape> shapes(const glic_shape* in) const { return {with_channels(in[0], size_.channels)}; }
    static Shape expected(const Shape& q) { return q; }
    int compute(int32_t element, const void* const* in, void* const* out,
                const glic_parallel* threads) const {
        return glic_scatter_aggregate_cpu(&size_, element, in[0], in[1], integers(in[2]), floats(in[3]),
                                          floats(in[4]), out[0], threads);
    }
    int compute_cuda(int32_t element, const void* const* in, void* const* out, void*, void* stream) const {
        return glic_scatter_aggregate_cuda(&size_, element, in[0], in[1], integers(in[2]), floats(in[3]),
                                           floats(in[4]), out[0], stream);
    }

  private:
    glic_scatter_aggregate_size size_{};
    int64_t sampling_ = 0, window_ = kWindow, sample_ = kSample;
};

}  // namespace glic

#endif
