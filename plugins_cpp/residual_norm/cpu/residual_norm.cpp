#include "../residual_norm.h"

#include "../../common/check.h"
#include "../../common/isa.h"
#include "../../common/tasks.h"
#include "kernel.h"

int glic_residual_norm_check(glic_shape x, glic_shape update, glic_shape bias, glic_residual_norm_size* size,
                             char* message) {
    glic::Checker check("glic::ResidualNorm", message);
    const int64_t channels = x.rank > 0 ? x.dims[x.rank - 1] : 0;
    check
        .that(channels > 0, "x has %zu dimensions and %lld channels, expected at least 1 of both", x.rank,
              static_cast<long long>(channels))
        .sides("x", x);
    if (!check.ok()) return check.result();
    bool same = update.rank == x.rank;
    int64_t positions = 1;
    for (size_t axis = 0; same && axis < x.rank; ++axis) {
        same = update.dims[axis] == x.dims[axis];
        if (axis + 1 < x.rank) positions *= x.dims[axis];
    }
    check
        .that(same, "update has not the shape of x, which has %zu dimensions and %lld channels", x.rank,
              static_cast<long long>(channels))
        .shape("bias", bias, {channels});
    if (!check.ok()) return check.result();
    *size = {positions, channels};
    return GLIC_OK;
}

int glic_residual_norm_cpu(const glic_residual_norm_size* size, int32_t element, float epsilon,
                           const float* x, const void* update, const float* bias, float* sum, void* normed,
                           const glic_parallel* parallel) {
    if (!glic::takes_element(element)) return GLIC_INVALID;
    const glic::ResidualNormProblem problem{*size, element, epsilon, x, update, bias, sum, normed};
    const glic::Task task = GLIC_SELECTED(residual_norm_task);
    const size_t count = glic::task_count(size->positions, glic::kNormPositions, {});
    return glic::run_tasks(parallel, count, 0, task, &problem);
}
