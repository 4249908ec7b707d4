/* glic::DynamicKnn on a GPU of compute capability 8.0 or later. README.md beside this file defines the op. */
#ifndef GLIC_DYNAMIC_KNN_CUDA_H
#define GLIC_DYNAMIC_KNN_CUDA_H

#include "dynamic_knn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Puts the selection of neighbours on a stream (a cudaStream_t) of the current device. All arrays are
   contiguous and in that device's memory; element, the type of x, is GLIC_FLOAT32, GLIC_FLOAT16 or
   GLIC_BFLOAT16; size is what glic_dynamic_knn_check gave. Needs no workspace and may be captured in a CUDA
   graph. Returns 0 or the CUDA runtime's error code; cudaErrorInvalidValue also for an element type or a
   number of nodes that it does not take (2^31 or more). */
GLIC_API int glic_dynamic_knn_cuda(const glic_dynamic_knn_size* size, int32_t element, const void* x,
                                   const float* complexity, int32_t* graph, void* stream);

#ifdef __cplusplus
}
#endif

#endif
