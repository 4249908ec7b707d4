/* glic::PixelShuffle, kernel interface. README.md beside this file defines the op. */
#ifndef GLIC_PIXEL_SHUFFLE_H
#define GLIC_PIXEL_SHUFFLE_H

#include "../common/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of the input. */
typedef struct {
    int64_t images, channels, height, width;
} glic_pixel_shuffle_size;

/* Whether the input's shape is the op's. GLIC_OK: *size describes the problem. GLIC_INVALID: message
   (GLIC_MESSAGE_SIZE bytes) says what it is and what was expected. */
GLIC_API int glic_pixel_shuffle_check(glic_shape x, glic_pixel_shuffle_size* size, char* message);

/* Shuffles on the CPU. Both arrays are contiguous. parallel may be NULL: one thread. Returns GLIC_OK. */
GLIC_API int glic_pixel_shuffle_cpu(const glic_pixel_shuffle_size* size, const float* x, float* out,
                                    const glic_parallel* parallel);

#ifdef __cplusplus
}
#endif

#endif
