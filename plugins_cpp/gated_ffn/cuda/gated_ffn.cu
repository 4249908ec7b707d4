#include "../gated_ffn_cuda.h"
#include "depthwise.cuh"
#include "pointwise.cuh"

namespace glic {
namespace {

bool are_aligned(std::initializer_list<const void*> arrays) {
    for (const void* array : arrays) {
        if (!is_aligned(array, 0)) return false;
    }
    return true;
}

// Whether channels or hidden channels are as many as the kernels take.
bool takes(int64_t channels, int64_t most) {
    return channels > 0 && channels <= most && channels % kElements == 0;
}

constexpr int64_t kMostHidden = INT64_C(1) << 20;

}  // namespace
}  // namespace glic

int glic_gated_ffn_cuda(const glic_gated_ffn_size* size, float epsilon, int32_t element, const void* x,
                        const void* expand, const float* bias, const void* project, void* out, void* stream) {
    using namespace glic;
    if (!takes(size->channels, GLIC_GATED_FFN_MAX_CHANNELS) || !takes(size->hidden, kMostHidden) ||
        size->positions < 0 || size->positions >= INT64_C(1) << 31 ||
        !are_aligned({x, expand, bias, project, out})) {
        return cudaErrorInvalidValue;
    }
    if (size->positions == 0) return cudaSuccess;
    const FfnWeights weights{
        expand, bias, nullptr, project, static_cast<int>(size->channels), static_cast<int>(size->hidden),
        epsilon};
    const auto on = static_cast<cudaStream_t>(stream);
    if (element == GLIC_FLOAT16) return launch<float16>(weights, x, out, size->positions, on);
    if (element == GLIC_BFLOAT16) return launch<bfloat16>(weights, x, out, size->positions, on);
    return cudaErrorInvalidValue;
}

int glic_depthwise_gated_ffn_cuda(const glic_depthwise_gated_ffn_size* size, float epsilon, int32_t element,
                                  const void* x, const void* expand, const float* bias, const float* filter,
                                  const void* project, void* out, void* stream) {
    using namespace glic;
    if (!takes(size->channels, GLIC_DEPTHWISE_GATED_FFN_MAX_CHANNELS) || !takes(size->hidden, kMostHidden) ||
        size->images < 0 || size->height < 0 || size->width < 0 ||
        !fits_int(size->images, size->height, size->width) || x == out ||
        !are_aligned({x, expand, bias, filter, project, out})) {
        return cudaErrorInvalidValue;
    }
    if (size->images == 0 || size->height == 0 || size->width == 0) return cudaSuccess;
    const FfnWeights weights{
        expand, bias, filter, project, static_cast<int>(size->channels), static_cast<int>(size->hidden),
        epsilon};
    const auto tiles = [](int64_t side, int tile) { return static_cast<int>((side + tile - 1) / tile); };
    const FfnMap map{x,
                     out,
                     static_cast<int>(size->height),
                     static_cast<int>(size->width),
                     tiles(size->height, kTileRows),
                     tiles(size->width, kTileColumns)};
    const auto on = static_cast<cudaStream_t>(stream);
    if (element == GLIC_FLOAT16) return launch<float16>(weights, map, size->images, on);
    if (element == GLIC_BFLOAT16) return launch<bfloat16>(weights, map, size->images, on);
    return cudaErrorInvalidValue;
}
