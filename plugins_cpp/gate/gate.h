/* glic::Gate and glic::DepthwiseGate, kernel interface. README.md beside this file defines the ops. */
#ifndef GLIC_GATE_H
#define GLIC_GATE_H

#include "../common/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* channels: of the result; x has twice as many. kernel: the filter's side, odd. */
typedef struct {
    int64_t images, height, width, channels, kernel;
} glic_depthwise_gate_size;

typedef struct {
    int64_t positions, channels;
} glic_gate_size;

/* Whether the inputs' shapes are the op's. GLIC_OK: *size describes the problem. GLIC_INVALID: message
   (GLIC_MESSAGE_SIZE bytes) says which tensor, what it is and what was expected. */
GLIC_API int glic_gate_check(glic_shape x, glic_gate_size* size, char* message);
GLIC_API int glic_depthwise_gate_check(glic_shape x, glic_shape filter, glic_depthwise_gate_size* size,
                                       char* message);

/* Computes on the CPU. element is GLIC_FLOAT32 or GLIC_BFLOAT16, the type of x and out. All arrays are
   contiguous. parallel may be NULL: one thread. Returns GLIC_OK,
   GLIC_NO_MEMORY, or GLIC_INVALID for another element. */
GLIC_API int glic_gate_cpu(const glic_gate_size* size, int32_t element, const void* x, void* out,
                           const glic_parallel* parallel);
GLIC_API int glic_depthwise_gate_cpu(const glic_depthwise_gate_size* size, int32_t element, const void* x,
                                     const float* filter, void* out, const glic_parallel* parallel);

#ifdef __cplusplus
}
#endif

#endif
