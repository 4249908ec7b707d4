/* glic::ResidualNorm, kernel interface. README.md beside this file defines the op. */
#ifndef GLIC_RESIDUAL_NORM_H
#define GLIC_RESIDUAL_NORM_H

#include "../common/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int64_t positions, channels;
} glic_residual_norm_size;

/* Whether the inputs' shapes are the op's. GLIC_OK: *size describes the problem. GLIC_INVALID: message
   (GLIC_MESSAGE_SIZE bytes) says which tensor, what it is and what was expected. */
GLIC_API int glic_residual_norm_check(glic_shape x, glic_shape update, glic_shape bias,
                                      glic_residual_norm_size* size, char* message);

/* Computes on the CPU. element is GLIC_FLOAT32 or GLIC_BFLOAT16, the type of update and normed. All arrays
   are contiguous; sum is positions × channels, normed has a channel more. parallel may be NULL: one thread.
   Returns GLIC_OK, GLIC_NO_MEMORY, or GLIC_INVALID for another element. */
GLIC_API int glic_residual_norm_cpu(const glic_residual_norm_size* size, int32_t element, float epsilon,
                                    const float* x, const void* update, const float* bias, float* sum,
                                    void* normed, const glic_parallel* parallel);

#ifdef __cplusplus
}
#endif

#endif
