/* glic::ScatterAggregate, kernel interface. README.md beside this file defines the op. */
#ifndef GLIC_SCATTER_AGGREGATE_H
#define GLIC_SCATTER_AGGREGATE_H

#include "../common/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int64_t images, height, width, channels, heads;
    int32_t sampling;
} glic_scatter_aggregate_size;

/* Whether the inputs' shapes and the attributes are the op's. GLIC_OK: *size describes the problem.
   GLIC_INVALID: message (GLIC_MESSAGE_SIZE bytes) says which tensor or attribute, what it is and what was
   expected. */
GLIC_API int glic_scatter_aggregate_check(glic_shape q, glic_shape kv, glic_shape graph, glic_shape bias,
                                          glic_shape scale, int64_t sampling, int64_t window, int64_t sample,
                                          glic_scatter_aggregate_size* size, char* message);

/* Aggregates on the CPU. element is the type of q, kv and out. All arrays are
   contiguous. parallel may be NULL: one thread. Returns GLIC_OK, GLIC_NO_MEMORY, or
   GLIC_INVALID for another element. */
GLIC_API int glic_scatter_aggregate_cpu(const glic_scatter_aggregate_size* size, int32_t element,
                                        const void* q, const void* kv, const int32_t* graph,
                                        const float* bias, const float* scale, void* out,
                                        const glic_parallel* parallel);

#ifdef __cplusplus
}
#endif

#endif
