/* glic::IntegerLinear, glic::IntegerGatedFfn and glic::IntegerDepthwise on a GPU of compute capability 8.0 or
   later. README.md beside this file defines the ops. */
#ifndef GLIC_INTEGER_INTEGER_CUDA_H
#define GLIC_INTEGER_INTEGER_CUDA_H

#include "../common/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A layer of products in the memory of the device: weight (inputs, outputs), row-major; bias and shift
 * (outputs). */
typedef struct {
    const int8_t* weight;
    const int32_t* bias;
    const int32_t* shift;
} glic_integer_layer;

typedef struct {
    int64_t positions, inputs, outputs;
    int32_t limit;
} glic_integer_linear_size;

typedef struct {
    int64_t positions, channels, hidden;
    int32_t norm_shift, norm_limit, gate_limit;
} glic_integer_gated_ffn_size;

/* The constants of a gated feed-forward in the memory of the device, as README.md lists them. */
typedef struct {
    const int32_t* norm_fraction;
    const int32_t* rsqrt;
    glic_integer_layer project_in;
    const int32_t* gelu;
    const int32_t* gate_shift;
    glic_integer_layer project_out;
} glic_integer_gated_ffn_constants;

typedef struct {
    int64_t height, width, channels;
    int32_t limit;
} glic_integer_depthwise_size;

/* These functions put one op on a stream (a cudaStream_t) of the current device. All arrays are contiguous
   and in that device's memory. They may be captured in a CUDA graph. They return 0 or the CUDA runtime's
   error code; cudaErrorInvalidValue also for a map of 2^31 values or more. Values of the constants are not
   checked: a shift or a fraction outside of its range gives a wrong number, never an access outside of the
   arrays. */

GLIC_API int glic_integer_linear_cuda(const glic_integer_linear_size* size, const float* x,
                                      glic_integer_layer layer, float* y, void* stream);

/* Bytes of device memory that a gated feed-forward needs while it runs, aligned to 256. */
GLIC_API size_t glic_integer_gated_ffn_workspace(const glic_integer_gated_ffn_size* size);

/* out may be x. */
GLIC_API int glic_integer_gated_ffn_cuda(const glic_integer_gated_ffn_size* size, const float* x,
                                         const glic_integer_gated_ffn_constants* constants, float* out,
                                         void* workspace, void* stream);

GLIC_API int glic_integer_depthwise_cuda(const glic_integer_depthwise_size* size, const float* x,
                                         glic_integer_layer layer, float* y, void* stream);

#ifdef __cplusplus
}
#endif

#endif
