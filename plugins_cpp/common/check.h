// Checks of shapes and attributes that the ops make, with messages that name op, tensor, got and expected.
#ifndef GLIC_COMMON_CHECK_H
#define GLIC_COMMON_CHECK_H

#include <initializer_list>

#include "kernel.h"

namespace glic {

// Writes at most GLIC_MESSAGE_SIZE bytes to `message` where something is wrong, and remembers that it did.
class Checker {
  public:
    Checker(const char* op, char* message) : op_(op), message_(message) { message_[0] = '\0'; }

    // sampling 0 or 1, window 8, sample 16.
    Checker& attributes(int64_t sampling, int64_t window, int64_t sample);
    // No side below 0, and at most 2^40 elements when sides of 0 are left out: no size that a kernel computes
    // from such sides overflows.
    Checker& sides(const char* tensor, glic_shape shape);
    // N×H×W×C with H and W multiples of 16.
    Checker& map(const char* tensor, glic_shape shape);
    // These dimensions.
    Checker& shape(const char* tensor, glic_shape shape, std::initializer_list<int64_t> expected);
    // Every value in low ... high.
    Checker& values(const char* tensor, const int32_t* values, size_t count, int64_t low, int64_t high);
    // An attribute in low ... high.
    Checker& attribute(const char* name, int64_t value, int64_t low, int64_t high);
    // Any other condition, with the rest of the message.
    Checker& that(bool holds, const char* format, ...) __attribute__((format(printf, 3, 4)));

    bool ok() const { return message_[0] == '\0'; }
    int result() const { return ok() ? GLIC_OK : GLIC_INVALID; }

  private:
    const char* op_;
    char* message_;
};

// Whether maps may have this element type; most kernels take no float16.
inline bool takes_element(int32_t element, bool float16 = false) {
    return element == GLIC_FLOAT32 || element == GLIC_BFLOAT16 || (float16 && element == GLIC_FLOAT16);
}

}  // namespace glic

#endif
