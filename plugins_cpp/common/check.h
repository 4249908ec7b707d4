// Checks of shapes and attributes that both ops make, with messages that name op, tensor, got and expected.
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
    // N×H×W×C with H and W multiples of 16.
    Checker& map(const char* tensor, glic_shape shape);
    // These dimensions.
    Checker& shape(const char* tensor, glic_shape shape, std::initializer_list<int64_t> expected);
    // Any other condition, with the rest of the message.
    Checker& that(bool holds, const char* format, ...) __attribute__((format(printf, 3, 4)));

    bool ok() const { return message_[0] == '\0'; }
    int result() const { return ok() ? GLIC_OK : GLIC_INVALID; }

  private:
    const char* op_;
    char* message_;
};

}  // namespace glic

#endif
