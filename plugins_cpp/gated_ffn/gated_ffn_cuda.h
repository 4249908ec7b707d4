/* glic::GatedFfn and glic::DepthwiseGatedFfn on a GPU of compute capability 8.0 or later. README.md beside
   this file defines the ops. */
#ifndef GLIC_GATED_FFN_GATED_FFN_CUDA_H
#define GLIC_GATED_FFN_GATED_FFN_CUDA_H

#include "gated_ffn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* These functions put one op on a stream (a cudaStream_t) of the current device. All arrays are contiguous,
   aligned to 16 bytes and in that device's memory; element, the type of all but bias and filter, is
   GLIC_FLOAT16 or GLIC_BFLOAT16; size is what the check gave. They need no workspace and may be captured in a
   CUDA graph. They return 0 or the CUDA runtime's error code; cudaErrorInvalidValue also for an element type,
   an alignment or a size that they do not take. */

/* out may be x. */
GLIC_API int glic_gated_ffn_cuda(const glic_gated_ffn_size* size, float epsilon, int32_t element,
                                 const void* x, const void* expand, const float* bias, const void* project,
                                 void* out, void* stream);

/* out must not overlap x. */
GLIC_API int glic_depthwise_gated_ffn_cuda(const glic_depthwise_gated_ffn_size* size, float epsilon,
                                           int32_t element, const void* x, const void* expand,
                                           const float* bias, const float* filter, const void* project,
                                           void* out, void* stream);

#ifdef __cplusplus
}
#endif

#endif
