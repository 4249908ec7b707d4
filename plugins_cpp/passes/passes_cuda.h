/* What an encoder and a decoder compute between the graphs of two passes, on a GPU of compute capability 8.0
   or later. README.md beside this file defines the functions. */
#ifndef GLIC_PASSES_PASSES_CUDA_H
#define GLIC_PASSES_PASSES_CUDA_H

#include "../common/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A slice of the latents: (channels, height, width), width even. A pass codes the positions whose row plus
   column has the parity 0 or 1. Packed maps hold these positions alone: (channels, height, width / 2). */
typedef struct {
    int64_t channels, height, width;
    int32_t parity;
} glic_pass_size;

/* How bits are weighed against error, as glic_deploy/entropy/quantizer.py defines it. Pointers are to the
   memory of the device. */
typedef struct {
    const double* gains; /* (256, levels): the bits that a step toward zero saves, by index and magnitude */
    const uint64_t* expected; /* the expected units of the symbols of all passes up to this one */
    const float* weights;     /* (height, width): how much error each position hides */
    double strength;
    double usual; /* the usual units of those symbols; 0: the strength is not adapted to the image */
    double most_strength;
    float detail_share;
    int32_t levels;
} glic_pass_weighing;

/* These functions put their work on a stream (a cudaStream_t) of the current device. All maps are contiguous
   and in that device's memory. They return 0 or the CUDA runtime's error code; cudaErrorInvalidValue also for
   a slice of 2^31 values or more. */

/* Writes before + the expected units of all symbols of a pass. units: (256), of a symbol with each index;
   before: a null pointer for 0. */
GLIC_API int glic_pass_expect_cuda(const glic_pass_size* size, const uint8_t* indexes, const int32_t* units,
                                   const uint64_t* before, uint64_t* expected, void* stream);

/* Writes the symbols of a pass, packed. y is the slice; means and indexes are packed. weighing: a null
   pointer rounds to the nearest symbol. */
GLIC_API int glic_pass_quantize_cuda(const glic_pass_size* size, const float* y, const float* means,
                                     const uint8_t* indexes, const glic_pass_weighing* weighing,
                                     int16_t* symbols, void* stream);

/* Writes the slice: symbol + mean at the positions of the pass, and elsewhere the values of `others`, or 0 if
   that is a null pointer. */
GLIC_API int glic_pass_place_cuda(const glic_pass_size* size, const int16_t* symbols, const float* means,
                                  const float* others, float* slice, void* stream);

#ifdef __cplusplus
}
#endif

#endif
