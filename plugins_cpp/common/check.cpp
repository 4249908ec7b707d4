#include "check.h"

#include <algorithm>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <string>

#include "groups.h"

namespace glic {
namespace {

std::string text(const int64_t* dims, size_t rank) {
    std::string out = "[";
    for (size_t i = 0; i < rank; ++i) out += (i ? ", " : "") + std::to_string(dims[i]);
    return out + "]";
}

}  // namespace

Checker& Checker::that(bool holds, const char* format, ...) {
    if (holds || !ok()) return *this;
    const int written = std::snprintf(message_, GLIC_MESSAGE_SIZE, "%s: ", op_);
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(message_ + written, GLIC_MESSAGE_SIZE - static_cast<size_t>(written), format, arguments);
    va_end(arguments);
    return *this;
}

Checker& Checker::attributes(int64_t sampling, int64_t window, int64_t sample) {
    that(sampling == GLIC_LOCAL || sampling == GLIC_GLOBAL,
         "attribute sampling is %" PRId64 ", expected 0 (local) or 1 (global)", sampling);
    return that(window == kWindow && sample == kSample,
                "attributes window, sample are %" PRId64 ", %" PRId64
                ", expected 8, 16: version 1 of the op defines edges as 64 nodes by 256 bits",
                window, sample);
}

Checker& Checker::sides(const char* tensor, glic_shape shape) {
    constexpr int64_t kMostElements = int64_t{1} << 40;
    int64_t elements = 1;
    bool fits = true;
    for (size_t i = 0; fits && i < shape.rank; ++i) {
        const int64_t side = std::max<int64_t>(shape.dims[i], 1);
        fits = shape.dims[i] >= 0 && side <= kMostElements / elements;
        elements *= fits ? side : 1;
    }
    return that(fits, "%s has shape %s, expected sides of 0 or more and at most 2^40 elements", tensor,
                text(shape.dims, shape.rank).c_str());
}

Checker& Checker::map(const char* tensor, glic_shape shape) {
    sides(tensor, shape);
    const bool fits = shape.rank == 4 &&
                      std::all_of(shape.dims, shape.dims + 4, [](int64_t d) { return d > 0; }) &&
                      shape.dims[1] % kSample == 0 && shape.dims[2] % kSample == 0;
    return that(fits,
                "%s has shape %s, expected [N, H, W, C] with H and W multiples of 16: pad the image to "
                "multiples of 128",
                tensor, text(shape.dims, shape.rank).c_str());
}

Checker& Checker::shape(const char* tensor, glic_shape shape, std::initializer_list<int64_t> expected) {
    const bool same =
        shape.rank == expected.size() && std::equal(expected.begin(), expected.end(), shape.dims);
    return that(same, "%s has shape %s, expected %s", tensor, text(shape.dims, shape.rank).c_str(),
                text(expected.begin(), expected.size()).c_str());
}

Checker& Checker::values(const char* tensor, const int32_t* values, size_t count, int64_t low, int64_t high) {
    const int32_t* last = values + count;
    const int32_t* wrong =
        std::find_if(values, last, [=](int32_t value) { return value < low || value > high; });
    return that(wrong == last, "%s has the value %" PRId32 ", expected %" PRId64 " to %" PRId64, tensor,
                wrong == last ? 0 : *wrong, low, high);
}

Checker& Checker::attribute(const char* name, int64_t value, int64_t low, int64_t high) {
    return that(value >= low && value <= high,
                "attribute %s is %" PRId64 ", expected %" PRId64 " to %" PRId64, name, value, low, high);
}

}  // namespace glic
