#include <cuda_runtime.h>

#include <cstdint>

#include "../../common/cuda/launch.cuh"
#include "../images_cuda.h"

namespace glic {
namespace {

constexpr unsigned kThreads = 256;
constexpr int kChannels = 3;

__global__ void __launch_bounds__(kThreads)
    place(const glic_image_place_size size, int values, const uint8_t* source, uint8_t* target) {
    const int index = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    if (index >= values) return;
    const int width = static_cast<int>(size.width), pixel = index / kChannels;
    const int64_t row = pixel / width, column = pixel % width;
    const int64_t last_row = size.source_height - 1, last_column = size.source_width - 1;
    target[index] = source[(row < last_row ? row : last_row) * size.row +
                           (column < last_column ? column : last_column) * size.column +
                           index % kChannels * size.channel];
}

}  // namespace
}  // namespace glic

int glic_image_place_cuda(const glic_image_place_size* size, const uint8_t* source, uint8_t* target,
                          void* stream) {
    using namespace glic;
    if (!fits_int(kChannels, size->height, size->width) || size->height <= 0 || size->width <= 0 ||
        size->source_height <= 0 || size->source_width <= 0) {
        return cudaErrorInvalidValue;
    }
    const auto values = static_cast<int>(kChannels * size->height * size->width);
    const unsigned blocks = (static_cast<unsigned>(values) + kThreads - 1) / kThreads;
    return launch_kernel(place, blocks, kThreads, 0, static_cast<cudaStream_t>(stream), *size, values, source,
                         target);
}
