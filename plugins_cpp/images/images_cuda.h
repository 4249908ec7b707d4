/* Moves the pixels of an image between the caller's memory and that of the graphs, on a GPU of compute
   capability 8.0 or later. README.md beside this file defines the function. */
#ifndef GLIC_IMAGES_IMAGES_CUDA_H
#define GLIC_IMAGES_IMAGES_CUDA_H

#include "../common/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The sides of the target, and where the pixels of the source are. */
typedef struct {
    int64_t height, width;               /* of the target */
    int64_t source_height, source_width; /* at least 1 */
    int64_t row, column, channel;        /* bytes between rows, columns and channels of the source */
} glic_image_place_size;

/* Puts its work on a stream (a cudaStream_t) of the current device: writes the target, uint8 (height, width,
   3), contiguous. Behind the edges of the source, its last row and column are repeated. A `channel` of 0
   writes grey as red, green and blue. Returns 0 or the CUDA runtime's error code; cudaErrorInvalidValue also
   for an empty source and for a target of 2^31 bytes or more. */
GLIC_API int glic_image_place_cuda(const glic_image_place_size* size, const uint8_t* source, uint8_t* target,
                                   void* stream);

#ifdef __cplusplus
}
#endif

#endif
