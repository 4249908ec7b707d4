// What the launch functions of both kernels share.
#ifndef GLIC_COMMON_CUDA_LAUNCH_CUH
#define GLIC_COMMON_CUDA_LAUNCH_CUH

#include <cuda_runtime.h>

#include <cstdint>

#include "blocks_at_once.cuh"
#include "warp.cuh"

namespace glic {

// Whether rows of this many bytes may be copied chunk by chunk.
inline bool is_aligned(const void* rows, int64_t row_bytes) {
    return reinterpret_cast<uintptr_t>(rows) % kChunk == 0 && row_bytes % kChunk == 0;
}

// The kernels count nodes in 32 bits.
inline bool fits_int(int64_t images, int64_t height, int64_t width) {
    return images * height * width < INT64_C(1) << 31;
}

template <typename... Parameters, typename... Arguments>
cudaError_t launch_kernel(void (*kernel)(Parameters...), unsigned blocks, unsigned threads,
                          size_t shared_bytes, cudaStream_t stream, const Arguments&... arguments) {
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(blocks);
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, arguments...);
}

}  // namespace glic

#endif
