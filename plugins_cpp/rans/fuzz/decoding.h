// Tables that all inputs share, and what a path makes of a stream under them.
#ifndef RANS_FUZZ_DECODING_H
#define RANS_FUZZ_DECODING_H

#include "input.h"

namespace fuzz {

inline const TableArrays& known_arrays() {
    static const TableArrays known = [] {
        TableArrays arrays;
        arrays.stride = 3001;
        arrays.add_row({0, 65000, 0, 0}, 1, -1);
        for (size_t symbols : {2, 3, 6, 20, 90, 700, 3000}) {
            Noise noise(static_cast<uint32_t>(symbols));
            std::vector<uint32_t> shares(symbols);
            for (uint32_t& share : shares) share = noise() % (symbols < 100 ? 20000 / symbols : 30);
            arrays.add_row(shares, symbols / 2, -static_cast<int32_t>(symbols) / 2);
        }
        arrays.add_row({1, 2, 3}, 0, 32766);
        return arrays;
    }();
    return known;
}

inline const rans_tables* known_tables() {
    static const rans_tables* tables = known_arrays().create();
    return tables;
}

// The indexes of some passes: one table for all symbols of a pass, or any table; the 10th table does not
// exist.
inline std::vector<std::vector<uint8_t>> passes_from(Input& input) {
    std::vector<std::vector<uint8_t>> passes(input.up_to(5));
    for (auto& indexes : passes) {
        indexes.resize(input.up_to(2000));
        const auto kind = input.take<uint8_t>();
        Noise noise(kind);
        for (uint8_t& index : indexes) index = static_cast<uint8_t>(kind < 10 ? kind : noise() % 9);
    }
    return passes;
}

struct Outcome {
    rans_status status;
    std::vector<int16_t> symbols;
};

inline Outcome decode(rans_isa isa, const uint8_t* stream, size_t size,
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
    if (decoder) require(rans_decoder_finish(decoder) == RANS_BAD_CALL, "a decoder ends once");
    rans_decoder_destroy(decoder);
    return outcome;
}

// Decodes on every path, and requires the same outcome of all.
inline Outcome decode_on_all_paths(const uint8_t* stream, size_t size,
                                   const std::vector<std::vector<uint8_t>>& passes) {
    Outcome first = decode(RANS_ISA_SCALAR, stream, size, passes);
    for (rans_isa isa : paths()) {
        const Outcome outcome = decode(isa, stream, size, passes);
        require(outcome.status == first.status, "every path finds the same end");
        if (outcome.status == RANS_OK) require(outcome.symbols == first.symbols, "and the same symbols");
    }
    return first;
}

}  // namespace fuzz

#endif
