// Any message under any tables: all paths write the same bytes, read them back, and keep to the cost.
#include "input.h"

namespace {

struct Pass {
    std::vector<int16_t> symbols;
    std::vector<uint8_t> indexes;
};

fuzz::TableArrays arrays_from(fuzz::Input& input) {
    fuzz::TableArrays arrays;
    arrays.stride = 301;
    const size_t rows = 1 + input.up_to(4);
    for (size_t r = 0; r < rows; ++r) {
        std::vector<uint32_t> shares(2 + input.up_to(298));
        fuzz::Noise noise(input.take<uint16_t>());
        const uint32_t largest = 1u << input.up_to(16);
        for (uint32_t& share : shares) share = noise() % largest;
        const auto room = static_cast<int32_t>(65536 + 1 - shares.size());
        arrays.add_row(shares, input.up_to(300),
                       -32768 + static_cast<int32_t>(input.take<uint16_t>()) % room);
    }
    return arrays;
}

Pass pass_from(fuzz::Input& input, const fuzz::TableArrays& arrays) {
    Pass pass;
    const size_t count = input.up_to(3000), one_table_of = 1 + input.up_to(200),
                 wild_of = 1 + input.up_to(400);
    fuzz::Noise noise(input.take<uint16_t>());
    size_t row = 0;
    for (size_t i = 0; i < count; ++i) {
        if (i % one_table_of == 0) row = noise() % arrays.lengths.size();
        const auto slot = static_cast<int32_t>(noise() & 0xffff);
        const int32_t* cdf = &arrays.cdfs[row * arrays.stride];
        int32_t v = 0;
        while (cdf[v + 1] <= slot) ++v;
        const int32_t symbol =
            noise() % wild_of == 0 ? static_cast<int16_t>(noise()) : arrays.offsets[row] + v;
        pass.symbols.push_back(static_cast<int16_t>(symbol > INT16_MAX ? INT16_MAX : symbol));
        pass.indexes.push_back(static_cast<uint8_t>(row));
    }
    return pass;
}

std::vector<uint8_t> encode(rans_isa isa, const rans_tables* tables, const std::vector<Pass>& passes,
                            unsigned lanes) {
    rans_encoder* encoder = nullptr;
    const uint8_t* stream = nullptr;
    size_t size = 0;
    fuzz::require(rans_encoder_create(isa, &encoder) == RANS_OK, "an encoder");
    for (const Pass& pass : passes)
        fuzz::require(rans_encoder_push(encoder, tables, pass.symbols.data(), pass.indexes.data(),
                                        pass.symbols.size()) == RANS_OK,
                      "a pass");
    fuzz::require(rans_encoder_finish(encoder, lanes, &stream, &size) == RANS_OK, "a stream");
    std::vector<uint8_t> copy(stream, stream + size);
    rans_encoder_destroy(encoder);
    return copy;
}

void decode(rans_isa isa, const rans_tables* tables, const std::vector<Pass>& passes,
            const std::vector<uint8_t>& stream) {
    rans_decoder* decoder = nullptr;
    fuzz::require(rans_decoder_create(stream.data(), stream.size(), isa, &decoder) == RANS_OK, "a decoder");
    for (const Pass& pass : passes) {
        std::vector<int16_t> symbols(pass.symbols.size());
        fuzz::require(rans_decoder_decode(decoder, tables, pass.indexes.data(), symbols.data(),
                                          symbols.size()) == RANS_OK,
                      "what was coded can be decoded");
        fuzz::require(symbols == pass.symbols, "and is the same");
    }
    fuzz::require(rans_decoder_finish(decoder) == RANS_OK, "and ends there");
    rans_decoder_destroy(decoder);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::Input input(data, size);
    const size_t lane_choice = input.up_to(9);
    const unsigned lanes = lane_choice == 9 ? 0 : 1u << lane_choice;
    const fuzz::TableArrays arrays = arrays_from(input);
    rans_tables* tables = arrays.create();
    fuzz::require(tables != nullptr, "these tables are valid");
    std::vector<Pass> passes;
    double ideal_bits = 0;
    for (size_t more = input.up_to(4); more > 0; --more) {
        double bits = 0;
        const Pass& pass = passes.emplace_back(pass_from(input, arrays));
        fuzz::require(rans_tables_ideal_bits(tables, pass.symbols.data(), pass.indexes.data(),
                                             pass.symbols.size(), &bits) == RANS_OK,
                      "a cost");
        ideal_bits += bits;
    }
    std::vector<uint8_t> first;
    for (rans_isa isa : fuzz::paths()) {
        const std::vector<uint8_t> stream = encode(isa, tables, passes, lanes);
        if (isa == RANS_ISA_SCALAR) first = stream;
        fuzz::require(stream == first, "every path writes the same bytes");
        decode(isa, tables, passes, stream);
    }
    if (lanes == 0)
        fuzz::require(static_cast<double>(first.size()) <= 1.001 * ideal_bits / 8 + 12, "the promised cost");
    rans_tables_destroy(tables);
    return 0;
}
