// What depthwise convolutions share outside of their kernels.
#ifndef GLIC_COMMON_DEPTHWISE_H
#define GLIC_COMMON_DEPTHWISE_H

#include <cstdint>
#include <memory>

namespace glic {

// The filter's largest side.
constexpr int64_t kLargestDepthwiseSide = 15;

// A filter channels × side × side as side × side × channels; nullptr where memory is short.
std::unique_ptr<float[]> filter_channels_last(const float* filter, int64_t channels, int64_t side);

}  // namespace glic

#endif
