#include "../complexity_map.h"

#include <algorithm>
#include <cinttypes>

#include "../../common/check.h"
#include "../../common/isa.h"
#include "../../common/tasks.h"
#include "../complexity.h"
#include "kernel.h"

namespace {

// Draws an image's positions towards their mean. The sum runs in the order of memory, on one thread.
void flatten_contrast(float* complexity, int64_t positions) {
    double sum = 0.0;
    for (int64_t i = 0; i < positions; ++i) sum += complexity[i];
    const float mean = static_cast<float>(sum / static_cast<double>(positions));
    for (int64_t i = 0; i < positions; ++i) {
        complexity[i] = mean + (complexity[i] - mean) * (1.0f / glic::kContrast);
    }
}

}  // namespace

int glic_complexity_map_check(glic_shape x, glic_complexity_map_size* size, char* message) {
    glic::Checker check("glic::ComplexityMap", message);
    check.that(x.rank == 4, "x has %zu dimensions, expected N, H, W, C", x.rank).sides("x", x);
    if (check.ok()) {
        check.that(std::all_of(x.dims, x.dims + 4, [](int64_t side) { return side > 0; }),
                   "x has shape [%" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64
                   "], expected N, H, W, C of 1 or more",
                   x.dims[0], x.dims[1], x.dims[2], x.dims[3]);
    }
    if (check.ok()) *size = {x.dims[0], x.dims[1], x.dims[2], x.dims[3]};
    return check.result();
}

int glic_complexity_map_cpu(const glic_complexity_map_size* size, int32_t element, const void* x,
                            float* complexity, const glic_parallel* parallel) {
    if (!glic::takes_element(element, true)) return GLIC_INVALID;
    const glic::ComplexityProblem problem{*size, element, x, complexity};
    const glic::Task task = GLIC_SELECTED(complexity_task);
    const int result =
        glic::run_tasks(parallel, static_cast<size_t>(size->images * problem.bands() * problem.strips()),
                        glic::complexity_scratch_bytes(size->channels), task, &problem);
    if (result != GLIC_OK) return result;
    const int64_t positions = size->height * size->width;
    for (int64_t image = 0; image < size->images; ++image) {
        flatten_contrast(complexity + image * positions, positions);
    }
    return GLIC_OK;
}
