/* glic::GatedFfn and glic::DepthwiseGatedFfn: the checks of their shapes. README.md beside this file defines
   the ops. */
#ifndef GLIC_GATED_FFN_GATED_FFN_H
#define GLIC_GATED_FFN_GATED_FFN_H

#include "../common/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The most channels that the kernels take. */
enum { GLIC_GATED_FFN_MAX_CHANNELS = 128, GLIC_DEPTHWISE_GATED_FFN_MAX_CHANNELS = 192 };

typedef struct {
    int64_t positions, channels, hidden;
} glic_gated_ffn_size;

typedef struct {
    int64_t images, height, width, channels, hidden;
} glic_depthwise_gated_ffn_size;

/* These functions fill *size from the shapes of the inputs. They return GLIC_INVALID, with a message
   (GLIC_MESSAGE_SIZE bytes), where a shape is not as README.md says. */

GLIC_API int glic_gated_ffn_check(glic_shape x, glic_shape expand, glic_shape bias, glic_shape project,
                                  glic_gated_ffn_size* size, char* message);

GLIC_API int glic_depthwise_gated_ffn_check(glic_shape x, glic_shape expand, glic_shape bias,
                                            glic_shape filter, glic_shape project,
                                            glic_depthwise_gated_ffn_size* size, char* message);

#ifdef __cplusplus
}
#endif

#endif
