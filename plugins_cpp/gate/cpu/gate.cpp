#include "../gate.h"

#include "../../common/check.h"
#include "../../common/depthwise.h"
#include "../../common/isa.h"
#include "../../common/tasks.h"
#include "kernel.h"

int glic_gate_check(glic_shape x, glic_gate_size* size, char* message) {
    glic::Checker check("glic::Gate", message);
    const int64_t channels = x.rank > 0 ? x.dims[x.rank - 1] : 0;
    check.sides("x", x).that(channels > 0 && channels % 2 == 0,
                             "x has %lld channels, expected an even number: the halves a and b",
                             static_cast<long long>(channels));
    if (!check.ok()) return check.result();
    *size = {1, channels / 2};
    for (size_t axis = 0; axis + 1 < x.rank; ++axis) size->positions *= x.dims[axis];
    return GLIC_OK;
}

int glic_depthwise_gate_check(glic_shape x, glic_shape filter, glic_depthwise_gate_size* size,
                              char* message) {
    glic::Checker check("glic::DepthwiseGate", message);
    const int64_t channels = x.rank == 4 ? x.dims[3] : 0, kernel = filter.rank == 4 ? filter.dims[3] : 0;
    check.that(x.rank == 4, "x has %zu dimensions, expected N, H, W, 2C", x.rank)
        .sides("x", x)
        .that(channels > 0 && channels % 2 == 0,
              "x has %lld channels, expected an even number: the halves a and b",
              static_cast<long long>(channels))
        .that(kernel % 2 == 1 && kernel <= glic::kLargestDepthwiseSide,
              "filter has side %lld, expected an odd number up to %lld in its dimensions 2C, 1, K, K",
              static_cast<long long>(kernel), static_cast<long long>(glic::kLargestDepthwiseSide))
        .shape("filter", filter, {channels, 1, kernel, kernel});
    if (!check.ok()) return check.result();
    *size = {x.dims[0], x.dims[1], x.dims[2], channels / 2, kernel};
    return GLIC_OK;
}

int glic_gate_cpu(const glic_gate_size* size, int32_t element, const void* x, void* out,
                  const glic_parallel* parallel) {
    if (!glic::takes_element(element)) return GLIC_INVALID;
    const glic::GateProblem problem{*size, element, x, out};
    const glic::Task task = GLIC_SELECTED(gate_task);
    const size_t count = glic::task_count(size->positions, glic::kGatePositions, {});
    return glic::run_tasks(parallel, count, 0, task, &problem);
}

int glic_depthwise_gate_cpu(const glic_depthwise_gate_size* size, int32_t element, const void* x,
                            const float* filter, void* out, const glic_parallel* parallel) {
    if (!glic::takes_element(element)) return GLIC_INVALID;
    const auto by_tap = glic::filter_channels_last(filter, 2 * size->channels, size->kernel);
    if (!by_tap) return GLIC_NO_MEMORY;
    const glic::DepthwiseGateProblem problem{*size, element, x, by_tap.get(), out};
    const glic::Task task = GLIC_SELECTED(depthwise_gate_task);
    const size_t count = glic::task_count(size->images * size->height, glic::kGateRows, {size->width});
    return glic::run_tasks(parallel, count, 0, task, &problem);
}
