// glic::FeedForward, glic::DepthwiseFeedForward and glic::GatedTransform: whole blocks, whose wide maps stay
// in the processor's cache. README.md beside this file defines them.
#ifndef GLIC_FEED_FORWARD_FEED_FORWARD_H
#define GLIC_FEED_FORWARD_FEED_FORWARD_H

#include <cstdint>
#include <memory>
#include <vector>

#include "../common/constant.h"
#include "../common/product.h"
#include "../common/tasks.h"

namespace glic {

// A depthwise mixer: project(depthwise(LeakyReLU(expand(x)))).
struct Mixer {
    ProductWeights expand;
    std::vector<float> expand_bias;  // with zeros up to whole panels
    // kernel × kernel × channels, and the biases of the channels, with zeros up to whole panels.
    int64_t kernel;
    std::vector<float> filter, filter_bias;
    ProductWeights project;
};

// A block, packed for one instruction set, whose task alone can read it.
struct FeedForwardBlock {
    Task task;
    int32_t element;
    float epsilon;
    // What makes the update where it is no input of the block.
    std::unique_ptr<const Mixer> mixer;
    std::vector<float> update_bias;  // with zeros up to whole panels
    // The halves of the expansion, a and b of the gate, and their biases, with zeros up to whole panels.
    ProductWeights expand_a, expand_b;
    std::vector<float> bias_a, bias_b;
    // Side of the depthwise filter, 0 without one. The filter is kernel × kernel × (a's channels, b's
    // channels), with zeros up to whole panels.
    int64_t kernel;
    std::vector<float> filter;
    ProductWeights project;
};

// From the constants of a node: bias, expand, filter where there is one, project. element: GLIC_FLOAT32 or
// GLIC_BFLOAT16, the type of the products. nullptr, with a message (GLIC_MESSAGE_SIZE bytes), where a
// constant is not as README.md says. Throws std::bad_alloc.
std::unique_ptr<FeedForwardBlock> make_feed_forward(const Constant* constants, bool depthwise, float epsilon,
                                                    int32_t element, char* message);

// The same of a GatedTransform, whose constants are those of its mixer, then bias, expand and project.
std::unique_ptr<FeedForwardBlock> make_gated_transform(const Constant* constants, float epsilon,
                                                       int32_t element, char* message);

// out of x and update, all positions × channels. Returns GLIC_OK or GLIC_NO_MEMORY.
int feed_forward(const FeedForwardBlock& block, const float* x, const float* update, int64_t positions,
                 float* out, const glic_parallel* parallel);

// The same of images × height × width × channels, with a depthwise filter; update is nullptr where the block
// has a mixer.
int depthwise_feed_forward(const FeedForwardBlock& block, const float* x, const float* update, int64_t images,
                           int64_t height, int64_t width, float* out, const glic_parallel* parallel);

}  // namespace glic

#endif
