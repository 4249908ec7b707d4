#include "../pixel_shuffle.h"

#include "../../common/check.h"
#include "../../common/tasks.h"

namespace glic {
namespace {

struct Problem {
    glic_pixel_shuffle_size size;
    const float* x;
    float* out;
};

// Interleaves four planes of x into one of the result, two rows at a time.
void shuffle_plane(const void* argument, size_t index, void*) {
    const Problem& problem = *static_cast<const Problem*>(argument);
    const int64_t height = problem.size.height, width = problem.size.width, area = height * width;
    const float* planes = problem.x + static_cast<int64_t>(index) * 4 * area;
    float* out = problem.out + static_cast<int64_t>(index) * 4 * area;
    for (int64_t row = 0; row < 2 * height; ++row) {
        const float* even = planes + row % 2 * 2 * area + row / 2 * width;
        const float* odd = even + area;
        float* const to = out + row * 2 * width;
        for (int64_t column = 0; column < width; ++column) {
            to[2 * column] = even[column];
            to[2 * column + 1] = odd[column];
        }
    }
}

}  // namespace
}  // namespace glic

int glic_pixel_shuffle_check(glic_shape x, glic_pixel_shuffle_size* size, char* message) {
    glic::Checker check("glic::PixelShuffle", message);
    check.that(x.rank == 4, "x has %zu dimensions, expected N, 4C, H, W", x.rank).sides("x", x);
    if (!check.ok()) return check.result();
    check.that(x.dims[1] % 4 == 0, "x has %lld channels, expected a multiple of 4",
               static_cast<long long>(x.dims[1]));
    if (check.ok()) *size = {x.dims[0], x.dims[1], x.dims[2], x.dims[3]};
    return check.result();
}

int glic_pixel_shuffle_cpu(const glic_pixel_shuffle_size* size, const float* x, float* out,
                           const glic_parallel* parallel) {
    const glic::Problem problem{*size, x, out};
    const size_t planes = glic::task_count(size->images * size->channels / 4, 1, {size->height, size->width});
    return glic::run_tasks(parallel, planes, 0, glic::shuffle_plane, &problem);
}
