/* glic::ComplexityMap on a GPU of compute capability 8.0 or later. README.md beside this file defines the op.
 */
#ifndef GLIC_COMPLEXITY_MAP_CUDA_H
#define GLIC_COMPLEXITY_MAP_CUDA_H

#include "complexity_map.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The bytes of device memory that glic_complexity_map_cuda needs for its sums. */
GLIC_API size_t glic_complexity_map_workspace(const glic_complexity_map_size* size);

/* Puts two kernels on a stream (a cudaStream_t) of the current device. All arrays are contiguous and in that
   device's memory; element, the type of x, is GLIC_FLOAT32, GLIC_FLOAT16 or GLIC_BFLOAT16; size is what
   glic_complexity_map_check gave. May be captured in a CUDA graph. Returns 0 or the CUDA runtime's error
   code; cudaErrorInvalidValue also for an element type or a size that it does not take (2^31 or more nodes,
   or values in a row). */
GLIC_API int glic_complexity_map_cuda(const glic_complexity_map_size* size, int32_t element, const void* x,
                                      float* complexity, void* workspace, void* stream);

#ifdef __cplusplus
}
#endif

#endif
