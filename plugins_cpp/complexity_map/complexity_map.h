/* glic::ComplexityMap, kernel interface. README.md beside this file defines the op. */
#ifndef GLIC_COMPLEXITY_MAP_H
#define GLIC_COMPLEXITY_MAP_H

#include "../common/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int64_t images, height, width, channels;
} glic_complexity_map_size;

/* Whether the input's shape is the op's. GLIC_OK: *size describes the problem. GLIC_INVALID: message
   (GLIC_MESSAGE_SIZE bytes) says what the shape is and what was expected. */
GLIC_API int glic_complexity_map_check(glic_shape x, glic_complexity_map_size* size, char* message);

/* Computes on the CPU. element is the type of x. Both arrays are contiguous. parallel may be NULL: one
   thread. Returns GLIC_OK, GLIC_NO_MEMORY, or GLIC_INVALID for another element. */
GLIC_API int glic_complexity_map_cpu(const glic_complexity_map_size* size, int32_t element, const void* x,
                                     float* complexity, const glic_parallel* parallel);

#ifdef __cplusplus
}
#endif

#endif
