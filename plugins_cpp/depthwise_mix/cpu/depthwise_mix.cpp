#include "../depthwise_mix.h"

#include "../../common/check.h"
#include "../../common/depthwise.h"
#include "../../common/isa.h"
#include "../../common/tasks.h"
#include "kernel.h"

int glic_depthwise_mix_check(glic_shape x, glic_shape before, glic_shape filter, glic_shape after,
                             glic_depthwise_mix_size* size, char* message) {
    glic::Checker check("glic::DepthwiseMix", message);
    const int64_t channels = x.rank == 4 ? x.dims[3] : 0, kernel = filter.rank == 4 ? filter.dims[3] : 0;
    check.that(x.rank == 4, "x has %zu dimensions, expected N, H, W, C", x.rank)
        .sides("x", x)
        .that(kernel % 2 == 1 && kernel <= glic::kLargestDepthwiseSide,
              "filter has side %lld, expected an odd number up to %lld in its dimensions C, 1, K, K",
              static_cast<long long>(kernel), static_cast<long long>(glic::kLargestDepthwiseSide))
        .shape("filter", filter, {channels, 1, kernel, kernel})
        .shape("before", before, {channels})
        .shape("after", after, {channels});
    if (!check.ok()) return check.result();
    *size = {x.dims[0], x.dims[1], x.dims[2], channels, kernel};
    return GLIC_OK;
}

int glic_depthwise_mix_cpu(const glic_depthwise_mix_size* size, int32_t element, const void* x,
                           const float* before, const float* filter, const float* after, void* out,
                           const glic_parallel* parallel) {
    if (!glic::takes_element(element)) return GLIC_INVALID;
    const auto by_tap = glic::filter_channels_last(filter, size->channels, size->kernel);
    if (!by_tap) return GLIC_NO_MEMORY;
    const glic::DepthwiseMixProblem problem{*size, element, x, before, by_tap.get(), after, out};
    const glic::Task task = GLIC_SELECTED(depthwise_mix_task);
    const size_t count =
        glic::task_count(size->images * size->height, glic::kMixRows, {size->width, size->channels});
    return glic::run_tasks(parallel, count, 0, task, &problem);
}
