#include "../winograd.h"

#include "../../common/check.h"
#include "../../common/isa.h"
#include "../../common/tasks.h"
#include "kernel.h"

int glic_winograd_input_check(glic_shape x, glic_winograd_size* size, char* message) {
    glic::Checker check("glic::WinogradInput", message);
    const bool map = x.rank == 4;
    const int64_t height = map ? x.dims[1] : 0, width = map ? x.dims[2] : 0;
    check.that(map, "x has %zu dimensions, expected N, H, W, C", x.rank)
        .sides("x", x)
        .that(height % glic::kTile == 0 && width % glic::kTile == 0,
              "x has height %lld and width %lld, expected multiples of %d", static_cast<long long>(height),
              static_cast<long long>(width), glic::kTile);
    if (!check.ok()) return check.result();
    *size = {x.dims[0], height / glic::kTile, width / glic::kTile, x.dims[3]};
    return GLIC_OK;
}

int glic_winograd_shuffle_check(glic_shape m, glic_shape bias, glic_winograd_size* size, char* message) {
    glic::Checker check("glic::WinogradShuffle", message);
    constexpr int kMatrices = glic::kPatch * glic::kPatch;
    const bool patches = m.rank == 5 && m.dims[0] == kMatrices;
    const int64_t channels = patches ? m.dims[4] : 0;
    check.that(patches, "m has %zu dimensions, expected %d, N, H/4, W/4, 4C", m.rank, kMatrices)
        .sides("m", m)
        .that(channels % 4 == 0, "m has %lld channels, expected a multiple of 4",
              static_cast<long long>(channels))
        .shape("bias", bias, {channels});
    if (!check.ok()) return check.result();
    *size = {m.dims[1], m.dims[2], m.dims[3], channels / 4};
    return GLIC_OK;
}

int glic_winograd_input_cpu(const glic_winograd_size* size, int32_t element, const void* x, void* out,
                            const glic_parallel* parallel) {
    if (!glic::takes_element(element)) return GLIC_INVALID;
    const glic::WinogradInputProblem problem{*size, element, x, out};
    const glic::Task task = GLIC_SELECTED(winograd_input_task);
    const size_t count = glic::task_count(size->images * size->rows, 1, {size->columns, size->channels});
    return glic::run_tasks(parallel, count, 0, task, &problem);
}

int glic_winograd_shuffle_cpu(const glic_winograd_size* size, int32_t element, const void* m,
                              const float* bias, float* out, const glic_parallel* parallel) {
    if (!glic::takes_element(element)) return GLIC_INVALID;
    const glic::WinogradShuffleProblem problem{*size, element, m, bias, out};
    const glic::Task task = GLIC_SELECTED(winograd_shuffle_task);
    const size_t count = glic::task_count(size->images * size->rows, 1, {size->columns, size->channels});
    return glic::run_tasks(parallel, count, 0, task, &problem);
}
