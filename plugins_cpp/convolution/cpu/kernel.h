// One task of a convolution, as each instruction set builds it: a tile of the results.
#ifndef GLIC_CONVOLUTION_CPU_KERNEL_H
#define GLIC_CONVOLUTION_CPU_KERNEL_H

#include <cstdint>

#include "../../common/isa.h"
#include "../convolution.h"

namespace glic {

// height, width: of x. Results have rows × columns positions before they are shuffled, and a task makes those
// of at most down × across of them.
struct ConvolutionProblem {
    const ConvolutionLayer* layer;
    const float* x;
    float* out;
    int64_t height, width, rows, columns, down, across;
};

// For how many outputs a task keeps Winograd's products at a time, where panels are not wider.
constexpr int64_t kWinogradOutputs = 32;

// Values between the patches of two matrices, and between their products: in most sizes these would else lie
// multiples of 4 KiB apart, and share few lines of the first cache.
constexpr int64_t kWinogradGap = 32;

// What is built for an instruction set, a type of products, which is float32 without Winograd, and a method.
struct ConvolutionBuild {
    ProductPacking packing;
    Task task;
};

GLIC_DECLARE_BUILDS(ConvolutionBuild convolution_build(int32_t element, bool winograd))

}  // namespace glic

#endif
