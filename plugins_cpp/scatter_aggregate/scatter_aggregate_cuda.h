/* glic::ScatterAggregate on a GPU of compute capability 8.0 or later. README.md beside this file defines the
 * op. */
#ifndef GLIC_SCATTER_AGGREGATE_CUDA_H
#define GLIC_SCATTER_AGGREGATE_CUDA_H

#include "scatter_aggregate.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The widest head that the kernel takes. */
enum { GLIC_CUDA_MAX_HEAD_WIDTH = 64 };

/* Puts the aggregation on a stream (a cudaStream_t) of the current device. All arrays are contiguous and in
   that device's memory; element, the type of q, kv and out, is GLIC_FLOAT32, GLIC_FLOAT16 or GLIC_BFLOAT16;
   size is what glic_scatter_aggregate_check gave. out may be q. Needs no workspace and may be captured in a
   CUDA graph. Returns 0 or the CUDA runtime's error code; cudaErrorInvalidValue also for an element type, a
   head wider than GLIC_CUDA_MAX_HEAD_WIDTH or a number of nodes that it does not take (2^31 or more). */
GLIC_API int glic_scatter_aggregate_cuda(const glic_scatter_aggregate_size* size, int32_t element,
                                         const void* q, const void* kv, const int32_t* graph,
                                         const float* bias, const float* scale, void* out, void* stream);

#ifdef __cplusplus
}
#endif

#endif
