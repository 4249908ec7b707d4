// The range coder's paths: the same bytes, and the same symbols back.
//
//     test_rans                   compares every path of this processor with plain C++; prints each
//     test_rans run ISA TIMES     encodes and decodes so many times the message whose instructions are
//     counted
//
// The targets of plugins_cpp/rans/fuzz reach further; they run on the emulator too.
#include "rans/rans.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "rans/fuzz/input.h"

namespace {

using fuzz::require;

struct Path {
    const char* name;
    rans_isa isa;
};
constexpr Path kPaths[] = {{"scalar", RANS_ISA_SCALAR},
                           {"avx2", RANS_ISA_AVX2},
                           {"avx512", RANS_ISA_AVX512},
                           {"neon", RANS_ISA_NEON}};

struct Message {
    std::vector<int16_t> symbols;
    std::vector<uint8_t> indexes;
};

// 64 tables that look like those of Gaussians, from narrow to wide.
fuzz::TableArrays gaussian_arrays() {
    fuzz::TableArrays arrays;
    arrays.stride = 301;
    for (size_t row = 0; row < 64; ++row) {
        const size_t reach = 1 + row * 2;
        std::vector<uint32_t> shares(2 * reach + 1);
        for (size_t v = 0; v < shares.size(); ++v) {
            const size_t distance = v < reach ? reach - v : v - reach;
            shares[v] = static_cast<uint32_t>(65536 / (4 + row) >> 4 * distance / reach);
        }
        arrays.add_row(shares, reach, -static_cast<int32_t>(reach));
    }
    return arrays;
}

// Symbols drawn from the tables. Indexes come in runs, as neighbours have similar scales; zeros are frequent.
Message draw(const fuzz::TableArrays& arrays, size_t count, uint32_t wild_of, uint32_t seed) {
    Message message;
    fuzz::Noise noise(seed);
    size_t row = 0;
    for (size_t i = 0; i < count; ++i) {
        if (i % 64 == 0) row = noise() % 2 ? 0 : noise() % 64;
        const size_t index = row == 0 ? 0 : (row + noise() % 4) % 64;
        const auto slot = static_cast<int32_t>(noise() >> 8 & 0xffff);
        const int32_t* cdf = &arrays.cdfs[index * arrays.stride];
        int32_t v = 0;
        while (cdf[v + 1] <= slot) ++v;
        const bool wild = noise() % wild_of == 0;
        message.symbols.push_back(
            static_cast<int16_t>(wild ? noise() : static_cast<uint32_t>(arrays.offsets[index] + v)));
        message.indexes.push_back(static_cast<uint8_t>(index));
    }
    return message;
}

std::vector<uint8_t> encode(rans_isa isa, const rans_tables* tables, const Message& message, unsigned lanes) {
    rans_encoder* encoder = nullptr;
    const uint8_t* stream = nullptr;
    size_t size = 0;
    require(rans_encoder_create(isa, &encoder) == RANS_OK, "an encoder");
    require(rans_encoder_push(encoder, tables, message.symbols.data(), message.indexes.data(),
                              message.symbols.size()) == RANS_OK,
            "a pass");
    require(rans_encoder_finish(encoder, lanes, &stream, &size) == RANS_OK, "a stream");
    std::vector<uint8_t> copy(stream, stream + size);
    rans_encoder_destroy(encoder);
    return copy;
}

std::vector<int16_t> decode(rans_isa isa, const rans_tables* tables, const Message& message,
                            const std::vector<uint8_t>& stream) {
    rans_decoder* decoder = nullptr;
    std::vector<int16_t> symbols(message.indexes.size());
    require(rans_decoder_create(stream.data(), stream.size(), isa, &decoder) == RANS_OK, "a decoder");
    require(rans_decoder_decode(decoder, tables, message.indexes.data(), symbols.data(), symbols.size()) ==
                RANS_OK,
            "the symbols");
    require(rans_decoder_finish(decoder) == RANS_OK, "and the end");
    rans_decoder_destroy(decoder);
    return symbols;
}

void compare(rans_isa isa) {
    const fuzz::TableArrays arrays = gaussian_arrays();
    rans_tables* tables = arrays.create();
    uint32_t seed = 0;
    for (const unsigned lanes : {0u, 1u, 2u, 4u, 8u, 16u, 32u, 64u, 128u, 256u}) {
        for (const size_t count : {0u, 1u, 31u, 1000u, 20000u}) {
            for (const uint32_t wild_of : {3u, 100u, 1u << 30}) {
                const Message message = draw(arrays, count, wild_of, ++seed);
                const std::vector<uint8_t> stream = encode(RANS_ISA_SCALAR, tables, message, lanes);
                require(encode(isa, tables, message, lanes) == stream, "the same bytes as plain C++");
                require(decode(isa, tables, message, stream) == message.symbols, "the symbols are back");
            }
        }
    }
    rans_tables_destroy(tables);
}

// A message of 98,304 symbols, those of 32 × 48 positions of 64 channels, with the lanes chosen by size.
void run(rans_isa isa, int times, bool encodes, bool decodes) {
    const fuzz::TableArrays arrays = gaussian_arrays();
    rans_tables* tables = arrays.create();
    const Message message = draw(arrays, 98304, 20000, 1);
    std::vector<uint8_t> stream = encode(isa, tables, message, 0);
    for (int i = 0; i < times; ++i) {
        if (encodes) encode(isa, tables, message, 0);
        if (decodes) decode(isa, tables, message, stream);
    }
    rans_tables_destroy(tables);
}

}  // namespace

int main(int argc, char** argv) {
    const bool encodes = argc == 4 && std::strcmp(argv[1], "encode") == 0;
    const bool decodes = argc == 4 && std::strcmp(argv[1], "decode") == 0;
    for (const Path& path : kPaths) {
        if (rans_isa_check(path.isa) != RANS_OK) continue;
        if (encodes || decodes) {
            if (std::strcmp(argv[2], path.name) != 0) continue;
            run(path.isa, std::atoi(argv[3]), encodes, decodes);
            return 0;
        }
        compare(path.isa);
        std::printf("%s\n", path.name);
    }
    return argc == 1 ? 0 : 2;
}
