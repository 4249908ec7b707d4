/* glic::GatedFfn: the check of its shapes. README.md beside this file defines the op. */
#ifndef GLIC_GATED_FFN_GATED_FFN_H
#define GLIC_GATED_FFN_GATED_FFN_H

#include "../common/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The most channels that the kernel takes. */
enum { GLIC_GATED_FFN_MAX_CHANNELS = 128 };

typedef struct {
    int64_t positions, channels, hidden;
} glic_gated_ffn_size;

/* Fills *size from the shapes of the inputs. GLIC_INVALID, with a message (GLIC_MESSAGE_SIZE bytes), where a
   shape is not as README.md says. */
GLIC_API int glic_gated_ffn_check(glic_shape x, glic_shape expand, glic_shape bias, glic_shape project,
                                  glic_gated_ffn_size* size, char* message);

#ifdef __cplusplus
}
#endif

#endif
