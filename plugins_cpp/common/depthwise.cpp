#include "depthwise.h"

#include <new>

namespace glic {

std::unique_ptr<float[]> filter_channels_last(const float* filter, int64_t channels, int64_t side) {
    const int64_t taps = side * side;
    std::unique_ptr<float[]> result(new (std::nothrow) float[static_cast<size_t>(channels * taps)]);
    if (!result) return result;
    for (int64_t channel = 0; channel < channels; ++channel) {
        for (int64_t tap = 0; tap < taps; ++tap) {
            result[static_cast<size_t>(tap * channels + channel)] = filter[channel * taps + tap];
        }
    }
    return result;
}

}  // namespace glic
