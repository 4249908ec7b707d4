/* glic::WinogradInput and glic::WinogradShuffle, kernel interface. README.md beside this file defines the
 * ops. */
#ifndef GLIC_WINOGRAD_H
#define GLIC_WINOGRAD_H

#include "../common/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* images × rows × columns tiles of 4×4 positions. channels: of x; of the shuffled map, a quarter of m's. */
typedef struct {
    int64_t images, rows, columns, channels;
} glic_winograd_size;

/* Whether the inputs' shapes are the op's. GLIC_OK: *size describes the problem. GLIC_INVALID: message
   (GLIC_MESSAGE_SIZE bytes) says which tensor, what it is and what was expected. */
GLIC_API int glic_winograd_input_check(glic_shape x, glic_winograd_size* size, char* message);
GLIC_API int glic_winograd_shuffle_check(glic_shape m, glic_shape bias, glic_winograd_size* size,
                                         char* message);

/* Computes on the CPU. element is GLIC_FLOAT32 or GLIC_BFLOAT16: the type of WinogradInput's x and out, and
   of m; the shuffled map is float32. All arrays are contiguous. parallel may be NULL: one thread. Returns
   GLIC_OK, GLIC_NO_MEMORY, or GLIC_INVALID for another element. */
GLIC_API int glic_winograd_input_cpu(const glic_winograd_size* size, int32_t element, const void* x,
                                     void* out, const glic_parallel* parallel);
GLIC_API int glic_winograd_shuffle_cpu(const glic_winograd_size* size, int32_t element, const void* m,
                                       const float* bias, float* out, const glic_parallel* parallel);

#ifdef __cplusplus
}
#endif

#endif
