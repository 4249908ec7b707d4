// A stream that an encoder wrote, cut or changed at a few places: decoding goes far into each part of the
// stream before it meets the damage, and all paths must come to the same end.
#include <algorithm>

#include "decoding.h"

namespace {

int16_t symbol_from(uint8_t index, fuzz::Noise& noise) {
    const fuzz::TableArrays& arrays = fuzz::known_arrays();
    const int32_t* cdf = &arrays.cdfs[index * arrays.stride];
    const auto slot = static_cast<int32_t>(noise() >> 8 & 0xffff);
    const auto number = std::upper_bound(cdf, cdf + arrays.lengths[index], slot) - cdf - 1;
    return static_cast<int16_t>(
        std::min<std::ptrdiff_t>(arrays.offsets[index] + number, noise() % 300 == 0 ? -30000 : INT16_MAX));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::Input input(data, size);
    const unsigned lanes = 1u << input.up_to(8);
    fuzz::Noise noise(input.take<uint16_t>());
    const auto passes = fuzz::passes_from(input);
    std::vector<int16_t> symbols;
    rans_encoder* encoder = nullptr;
    fuzz::require(rans_encoder_create(RANS_ISA_BEST, &encoder) == RANS_OK, "an encoder");
    bool valid = true;
    for (const auto& indexes : passes) {
        valid = valid && (indexes.empty() || indexes[0] < 9);
        if (!valid) break;
        const size_t first = symbols.size();
        for (uint8_t index : indexes) symbols.push_back(symbol_from(index, noise));
        fuzz::require(rans_encoder_push(encoder, fuzz::known_tables(), symbols.data() + first, indexes.data(),
                                        indexes.size()) == RANS_OK,
                      "a pass");
    }
    const uint8_t* written = nullptr;
    size_t bytes = 0;
    fuzz::require(rans_encoder_finish(encoder, lanes, &written, &bytes) == RANS_OK, "a stream");
    std::vector<uint8_t> stream(written, written + bytes);
    rans_encoder_destroy(encoder);
    if (!valid) return 0;

    const bool whole = input.left() == 0;
    while (input.left() > 0 && !stream.empty()) {
        const size_t place = input.take<uint16_t>() % stream.size();
        if (const auto change = input.take<uint8_t>())
            stream[place] ^= change;
        else
            stream.resize(place);
    }
    const fuzz::Outcome outcome = fuzz::decode_on_all_paths(stream.data(), stream.size(), passes);
    if (whole)
        fuzz::require(outcome.status == RANS_OK && outcome.symbols == symbols, "an undamaged stream decodes");
    return 0;
}
