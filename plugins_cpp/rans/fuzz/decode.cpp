// Any bytes as a stream, any indexes: no path may leave its buffers, and all must come to the same end.
#include "input.h"

namespace {

const rans_tables* known_tables() {
    static const rans_tables* tables = [] {
        fuzz::TableArrays arrays;
        arrays.stride = 3001;
        arrays.add_row({0, 65000, 0, 0}, 1, -1);
        for (size_t symbols : {2, 3, 6, 20, 90, 700, 3000}) {
            fuzz::Noise noise(static_cast<uint32_t>(symbols));
            std::vector<uint32_t> shares(symbols);
            for (uint32_t& share : shares) share = noise() % (symbols < 100 ? 20000 / symbols : 30);
            arrays.add_row(shares, symbols / 2, -static_cast<int32_t>(symbols) / 2);
        }
        arrays.add_row({1, 2, 3}, 0, 32766);
        return arrays.create();
    }();
    return tables;
}

struct Outcome {
    rans_status status;
    std::vector<int16_t> symbols;
};

Outcome decode(rans_isa isa, const uint8_t* stream, size_t size,
               const std::vector<std::vector<uint8_t>>& passes) {
    Outcome outcome;
    rans_decoder* decoder = nullptr;
    outcome.status = rans_decoder_create(stream, size, isa, &decoder);
    for (const auto& indexes : passes) {
        if (outcome.status != RANS_OK) break;
        std::vector<int16_t> symbols(indexes.size());
        outcome.status =
            rans_decoder_decode(decoder, known_tables(), indexes.data(), symbols.data(), symbols.size());
        outcome.symbols.insert(outcome.symbols.end(), symbols.begin(), symbols.end());
    }
    if (outcome.status == RANS_OK) outcome.status = rans_decoder_finish(decoder);
    if (decoder) fuzz::require(rans_decoder_finish(decoder) == RANS_BAD_CALL, "a decoder ends once");
    rans_decoder_destroy(decoder);
    return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::Input input(data, size);
    std::vector<std::vector<uint8_t>> passes(input.up_to(5));
    for (auto& indexes : passes) {
        indexes.resize(input.up_to(700));
        const auto kind = input.take<uint8_t>();
        fuzz::Noise noise(kind);
        // One table for all, or any of them; the 10th does not exist.
        for (uint8_t& index : indexes) index = static_cast<uint8_t>(kind < 10 ? kind : noise() % 9);
    }
    Outcome first{RANS_OK, {}};
    for (rans_isa isa : fuzz::paths()) {
        const Outcome outcome = decode(isa, input.rest(), input.left(), passes);
        if (isa == RANS_ISA_SCALAR) {
            first = outcome;
            continue;
        }
        fuzz::require(outcome.status == first.status, "every path finds the same end");
        if (outcome.status == RANS_OK)
            fuzz::require(outcome.symbols == first.symbols, "and the same symbols");
    }
    return 0;
}
