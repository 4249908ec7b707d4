// glic::Convolution: a convolution of a map, whose results may be shuffled to a larger one. README.md beside
// this file defines it.
#ifndef GLIC_CONVOLUTION_CONVOLUTION_H
#define GLIC_CONVOLUTION_CONVOLUTION_H

#include <cstdint>
#include <memory>
#include <vector>

#include "../common/constant.h"
#include "../common/product.h"
#include "../common/tasks.h"

namespace glic {

struct ConvolutionAttributes {
    int64_t stride, shuffle, winograd;
};

// A convolution, packed for one instruction set, whose task alone can read it.
struct ConvolutionLayer {
    Task task;
    int32_t element;
    ConvolutionAttributes attributes;
    int64_t kernel, channels, outputs;
    ProductPacking packing;
    // One for each row of the filters, whose inputs are the columns and channels under it; for Winograd, the
    // 36 matrices of the patches.
    std::vector<ProductWeights> weights;
    std::vector<float> bias;  // with zeros up to whole panels
};

// From the constants of a node: weight and bias. element: GLIC_FLOAT32 or GLIC_BFLOAT16, the type of the
// products. nullptr, with a message (GLIC_MESSAGE_SIZE bytes), where a constant or an attribute is not as
// README.md says. Throws std::bad_alloc.
std::unique_ptr<ConvolutionLayer> make_convolution(const Constant* constants,
                                                   const ConvolutionAttributes& attributes, int32_t element,
                                                   char* message);

// out of x, images × height × width × channels, whose height and width are multiples of the stride. Returns
// GLIC_OK or GLIC_NO_MEMORY.
int convolve(const ConvolutionLayer& layer, const float* x, int64_t images, int64_t height, int64_t width,
             float* out, const glic_parallel* parallel);

}  // namespace glic

#endif
