#include "../scatter_aggregate.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>

#include "../../common/check.h"
#include "../../common/isa.h"
#include "../../common/tasks.h"
#include "kernel.h"

namespace glic {
namespace {

struct Preparation {
    const float* bias;  // heads × 64 × 256
    const float* scale;
    float* by_candidate;  // as AggregateProblem::bias
    uint8_t* negligible;
};

// Transposes one head's bias and decides whether its non-edges may be skipped. In a row with an edge, the
// best logit of a non-edge is below the worst one of an edge by 98 times the scale (100 less the span of a
// cosine) less the span of the bias; past 104 its weight is zero in float32. A NaN anywhere says no.
void prepare_head(const void* argument, size_t head, void*) {
    const Preparation& work = *static_cast<const Preparation*>(argument);
    const float* bias = work.bias + head * kQueries * kCandidates;
    float* by_candidate = work.by_candidate + head * kQueries * kCandidates;
    float low = bias[0], high = bias[0];
    bool finite = true;
    for (int n = 0; n < kQueries; ++n) {
        float* column = by_candidate + n / kBiasQueries * (kCandidates * kBiasQueries) + n % kBiasQueries;
        for (int m = 0; m < kCandidates; ++m) {
            const float value = bias[n * kCandidates + m];
            column[m * kBiasQueries] = value;
            low = std::min(low, value);
            high = std::max(high, value);
            finite &= std::isfinite(value);
        }
    }
    work.negligible[head] = finite && 98.0f * work.scale[head] - (high - low) > 104.0f;
}

}  // namespace
}  // namespace glic

int glic_scatter_aggregate_check(glic_shape q, glic_shape kv, glic_shape graph, glic_shape bias,
                                 glic_shape scale, int64_t sampling, int64_t window, int64_t sample,
                                 glic_scatter_aggregate_size* size, char* message) {
    glic::Checker check("glic::ScatterAggregate", message);
    check.attributes(sampling, window, sample).map("q", q);
    check.that(bias.rank > 0 && bias.dims[0] > 0, "bias has no heads, expected [heads, 64, 256]");
    if (!check.ok()) return check.result();

    const int64_t images = q.dims[0], height = q.dims[1], width = q.dims[2], channels = q.dims[3];
    const int64_t heads = bias.dims[0];
    const glic::Grid grid{images, height, width, static_cast<int32_t>(sampling)};
    check.shape("kv", kv, {images, height, width, 2 * channels})
        .shape("graph", graph, {images, grid.groups(), glic::kQueries, glic::kWords})
        .shape("bias", bias, {heads, glic::kQueries, glic::kCandidates})
        .shape("scale", scale, {heads})
        .that(channels % heads == 0, "q has %lld channels, expected a multiple of the %lld heads of bias",
              static_cast<long long>(channels), static_cast<long long>(heads));
    if (check.ok()) *size = {images, height, width, channels, heads, grid.sampling};
    return check.result();
}

int glic_scatter_aggregate_cpu(const glic_scatter_aggregate_size* size, int32_t element, const void* q,
                               const void* kv, const int32_t* graph, const float* bias, const float* scale,
                               void* out, const glic_parallel* parallel) {
    if (!glic::takes_element(element, true)) return GLIC_INVALID;
    const size_t heads = static_cast<size_t>(size->heads);
    const std::unique_ptr<float[]> by_candidate(
        new (std::nothrow) float[heads * glic::kQueries * glic::kCandidates]);
    const std::unique_ptr<uint8_t[]> negligible(new (std::nothrow) uint8_t[heads]);
    if (!by_candidate || !negligible) return GLIC_NO_MEMORY;
    const glic::Preparation preparation{bias, scale, by_candidate.get(), negligible.get()};
    const int prepared = glic::run_tasks(parallel, heads, 0, glic::prepare_head, &preparation);
    if (prepared != GLIC_OK) return prepared;

    const glic::Grid grid{size->images, size->height, size->width, size->sampling};
    const glic::AggregateProblem problem{grid,  size->channels,     size->heads, element,          q,  kv,
                                         graph, by_candidate.get(), scale,       negligible.get(), out};
    const glic::Task task = GLIC_SELECTED(aggregate_task);
    const size_t count = static_cast<size_t>(grid.images * grid.tasks_per_image());
    const size_t scratch = glic::aggregate_scratch_bytes(size->channels, size->heads);
    return glic::run_tasks(parallel, count, scratch, task, &problem);
}
