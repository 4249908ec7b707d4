/* glic::DepthwiseMix, kernel interface. README.md beside this file defines the op. */
#ifndef GLIC_DEPTHWISE_MIX_H
#define GLIC_DEPTHWISE_MIX_H

#include "../common/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* kernel: the filter's side, odd. */
typedef struct {
    int64_t images, height, width, channels, kernel;
} glic_depthwise_mix_size;

/* Whether the inputs' shapes are the op's. GLIC_OK: *size describes the problem. GLIC_INVALID: message
   (GLIC_MESSAGE_SIZE bytes) says which tensor, what it is and what was expected. */
GLIC_API int glic_depthwise_mix_check(glic_shape x, glic_shape before, glic_shape filter, glic_shape after,
                                      glic_depthwise_mix_size* size, char* message);

/* Computes on the CPU. element is GLIC_FLOAT32 or GLIC_BFLOAT16, the type of x and out. All arrays are
   contiguous. parallel may be NULL: one thread. Returns GLIC_OK,
   GLIC_NO_MEMORY, or GLIC_INVALID for another element. */
GLIC_API int glic_depthwise_mix_cpu(const glic_depthwise_mix_size* size, int32_t element, const void* x,
                                    const float* before, const float* filter, const float* after, void* out,
                                    const glic_parallel* parallel);

#ifdef __cplusplus
}
#endif

#endif
