// Any numbers as tables: they are refused, or they code.
#include "input.h"

namespace {

fuzz::TableArrays arrays_from(fuzz::Input& input) {
    fuzz::TableArrays arrays;
    const size_t rows = input.up_to(260);
    arrays.stride = input.up_to(40);
    const bool nearly_valid = input.take<uint8_t>() & 1;
    for (size_t r = 0; r < rows; ++r) {
        int32_t value = 0, length = static_cast<int32_t>(arrays.stride);
        for (size_t v = 0; v < arrays.stride; ++v) {
            arrays.cdfs.push_back(nearly_valid && v + 1 == arrays.stride ? 65536 : value);
            value = nearly_valid ? value + 1 + input.take<uint8_t>() : input.take<int32_t>();
        }
        if (!nearly_valid || input.take<uint8_t>() == 7) length = input.take<int32_t>();
        arrays.lengths.push_back(length);
        arrays.offsets.push_back(nearly_valid ? input.take<int16_t>() : input.take<int32_t>());
    }
    return arrays;
}

void code_with(const rans_tables* tables, size_t rows, fuzz::Noise noise) {
    std::vector<int16_t> symbols(100), decoded(symbols.size());
    std::vector<uint8_t> indexes(symbols.size());
    for (int16_t& symbol : symbols) symbol = static_cast<int16_t>(noise());
    for (uint8_t& index : indexes) index = static_cast<uint8_t>(noise() % rows);
    rans_encoder* encoder = nullptr;
    rans_decoder* decoder = nullptr;
    const uint8_t* stream = nullptr;
    size_t size = 0;
    fuzz::require(rans_encoder_create(RANS_ISA_BEST, &encoder) == RANS_OK, "an encoder");
    fuzz::require(
        rans_encoder_push(encoder, tables, symbols.data(), indexes.data(), symbols.size()) == RANS_OK,
        "tables that are valid can be coded with");
    fuzz::require(rans_encoder_finish(encoder, 0, &stream, &size) == RANS_OK, "a stream");
    fuzz::require(rans_decoder_create(stream, size, RANS_ISA_BEST, &decoder) == RANS_OK, "a decoder");
    fuzz::require(
        rans_decoder_decode(decoder, tables, indexes.data(), decoded.data(), decoded.size()) == RANS_OK,
        "what was coded can be decoded");
    fuzz::require(decoded == symbols && rans_decoder_finish(decoder) == RANS_OK, "and is the same");
    rans_decoder_destroy(decoder);
    rans_encoder_destroy(encoder);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::Input input(data, size);
    const fuzz::TableArrays arrays = arrays_from(input);
    rans_tables* tables = arrays.create();
    if (tables) code_with(tables, arrays.lengths.size(), fuzz::Noise(static_cast<uint32_t>(size)));
    rans_tables_destroy(tables);
    return 0;
}
