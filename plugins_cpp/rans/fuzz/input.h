// Turns a fuzzer's bytes into numbers; what is asked for beyond their end is zero.
#ifndef RANS_FUZZ_INPUT_H
#define RANS_FUZZ_INPUT_H

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "rans.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace fuzz {

class Input {
  public:
    Input(const uint8_t* data, size_t size) : next_(data), end_(data + size) {}

    template <class T>
    T take() {
        uint64_t value = 0;
        for (size_t i = 0; i < sizeof(T); ++i)
            if (next_ < end_) value |= static_cast<uint64_t>(*next_++) << 8 * i;
        return static_cast<T>(value);
    }
    // A number from 0 to most.
    size_t up_to(size_t most) { return take<uint16_t>() % (most + 1); }

    const uint8_t* rest() const { return next_; }
    size_t left() const { return static_cast<size_t>(end_ - next_); }

  private:
    const uint8_t* next_;
    const uint8_t* end_;
};

// Numbers that look random, so that few bytes of input make long passes.
class Noise {
  public:
    explicit Noise(uint32_t seed) : state_(seed | 1) {}
    uint32_t operator()() {
        state_ ^= state_ << 13, state_ ^= state_ >> 17, state_ ^= state_ << 5;
        return state_;
    }

  private:
    uint32_t state_;
};

inline void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "does not hold: %s\n", what);
    std::abort();
}

// Every code path that this machine can run; plain C++ first.
inline std::vector<rans_isa> paths() {
    std::vector<rans_isa> all;
    for (rans_isa isa : {RANS_ISA_SCALAR, RANS_ISA_AVX2, RANS_ISA_AVX512, RANS_ISA_NEON})
        if (rans_isa_check(isa) == RANS_OK) all.push_back(isa);
    return all;
}

struct TableArrays {
    size_t stride = 0;
    std::vector<int32_t> cdfs, lengths, offsets;

    rans_tables* create() const {
        rans_tables* tables = nullptr;
        size_t bad_row = 0;
        const rans_status status = rans_tables_create(cdfs.data(), stride, lengths.data(), offsets.data(),
                                                      lengths.size(), &tables, &bad_row);
        require((status == RANS_OK) == (tables != nullptr), "tables exist when they are valid");
        require(status == RANS_OK || status == RANS_BAD_TABLES, "tables are valid or not");
        return tables;
    }

    // Adds a valid row: every symbol has a frequency of 1 or more, the one at `heavy` what is left over.
    void add_row(const std::vector<uint32_t>& shares, size_t heavy, int32_t offset) {
        const auto symbols = static_cast<int32_t>(shares.size());
        std::vector<int32_t> frequencies(shares.size(), 1);
        int32_t left = 65536 - symbols;
        for (size_t v = 0; v < shares.size(); ++v) {
            const auto share = static_cast<int32_t>(shares[v] % (static_cast<uint32_t>(left) / 2 + 1));
            frequencies[v] += share;
            left -= share;
        }
        frequencies[heavy % shares.size()] += left;
        lengths.push_back(symbols + 1);
        offsets.push_back(offset);
        size_t place = cdfs.size();
        cdfs.resize(place + stride, 0);
        for (int32_t frequency : frequencies) {
            cdfs[place + 1] = cdfs[place] + frequency;
            ++place;
        }
    }
};

}  // namespace fuzz

#endif
