/* glic::DynamicKnn, kernel interface. README.md beside this file defines the op. */
#ifndef GLIC_DYNAMIC_KNN_H
#define GLIC_DYNAMIC_KNN_H

#include "../common/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int64_t images, height, width, channels;
    int32_t sampling;
} glic_dynamic_knn_size;

/* Whether the inputs' shapes and the attributes are the op's. GLIC_OK: *size describes the problem.
   GLIC_INVALID: message (GLIC_MESSAGE_SIZE bytes) says which tensor or attribute, what it is and what was
   expected. */
GLIC_API int glic_dynamic_knn_check(glic_shape x, glic_shape complexity, int64_t sampling, int64_t window,
                                    int64_t sample, glic_dynamic_knn_size* size, char* message);

/* Selects the neighbours on the CPU. element is the type of x. All arrays are
   contiguous. parallel may be NULL: one thread. Returns GLIC_OK, GLIC_NO_MEMORY, or
   GLIC_INVALID for another element. */
GLIC_API int glic_dynamic_knn_cpu(const glic_dynamic_knn_size* size, int32_t element, const void* x,
                                  const float* complexity, int32_t* graph, const glic_parallel* parallel);

#ifdef __cplusplus
}
#endif

#endif
