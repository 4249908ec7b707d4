// Any bytes as a stream, any indexes: no path may leave its buffers, and all must come to the same end.
#include "decoding.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::Input input(data, size);
    const auto passes = fuzz::passes_from(input);
    fuzz::decode_on_all_paths(input.rest(), input.left(), passes);
    return 0;
}
