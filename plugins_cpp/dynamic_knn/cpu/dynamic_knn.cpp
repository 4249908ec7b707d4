#include "../dynamic_knn.h"

#include "../../common/check.h"
#include "../../common/isa.h"
#include "../../common/tasks.h"
#include "kernel.h"

int glic_dynamic_knn_check(glic_shape x, glic_shape complexity, int64_t sampling, int64_t window,
                           int64_t sample, glic_dynamic_knn_size* size, char* message) {
    glic::Checker check("glic::DynamicKnn", message);
    check.attributes(sampling, window, sample).map("x", x);
    if (check.ok()) check.shape("complexity", complexity, {x.dims[0], x.dims[1], x.dims[2]});
    if (check.ok()) *size = {x.dims[0], x.dims[1], x.dims[2], x.dims[3], static_cast<int32_t>(sampling)};
    return check.result();
}

int glic_dynamic_knn_cpu(const glic_dynamic_knn_size* size, int32_t element, const void* x,
                         const float* complexity, int32_t* graph, const glic_parallel* parallel) {
    if (!glic::takes_element(element, true)) return GLIC_INVALID;
    const glic::Grid grid{size->images, size->height, size->width, size->sampling};
    const glic::KnnProblem problem{grid, size->channels, element, x, complexity, graph};
    const glic::Task task = GLIC_SELECTED(knn_task);
    const size_t count = static_cast<size_t>(grid.images * grid.tasks_per_image());
    return glic::run_tasks(parallel, count, glic::knn_scratch_bytes(size->channels), task, &problem);
}
