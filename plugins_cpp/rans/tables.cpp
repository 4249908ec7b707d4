#include "tables.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>
#include <vector>

#include "escape.h"
#include "handles.h"

namespace rans {
namespace {

constexpr uint32_t kWidestShift = 8;     // at least 256 buckets a row
constexpr uint32_t kNarrowestShift = 4;  // at most 4096
// Buckets are made narrower until their hints leave at most this many of the 65536 slots to a search.
constexpr uint32_t kSearchedSlots = kTotal / 256;
// A row's most probable symbol is dominant when 32 lanes hold it together about every second time.
constexpr uint32_t kDominantFrequency = kTotal - kTotal / 48;

bool valid_row(const int32_t* cdf, int32_t length, int32_t offset) {
    const int32_t symbols = length - 2;
    if (offset < INT16_MIN || offset > INT16_MAX - (symbols - 1)) return false;
    if (cdf[0] != 0 || cdf[length - 1] != static_cast<int32_t>(kTotal)) return false;
    return std::adjacent_find(cdf, cdf + length, [](int32_t a, int32_t b) { return a >= b; }) == cdf + length;
}

// How many slots hints for buckets of 1 << shift slots leave to a search: all after a bucket's second symbol.
uint32_t searched_slots(const int32_t* cdf, uint32_t shift) {
    uint32_t searched = 0;
    int32_t symbol = 0;
    for (int32_t first = 0; first < static_cast<int32_t>(kTotal); first += 1 << shift) {
        const int32_t end = first + (1 << shift);
        while (cdf[symbol + 1] <= first) ++symbol;
        if (cdf[symbol + 1] < end) searched += std::max(end - cdf[symbol + 2], 0);
    }
    return searched;
}

uint32_t choose_shift(const int32_t* cdf) {
    uint32_t shift = kWidestShift;
    while (shift > kNarrowestShift && searched_slots(cdf, shift) > kSearchedSlots) --shift;
    return shift;
}

void append_row(const int32_t* cdf, uint32_t symbols_and_escape, uint32_t shift,
                std::vector<uint32_t>& words) {
    const size_t buckets = kTotal >> shift, entries = words.size() + buckets;
    words.resize(entries + symbols_and_escape);
    uint32_t symbol = 0;
    for (size_t bucket = 0; bucket < buckets; ++bucket) {
        while (static_cast<uint32_t>(cdf[symbol + 1]) <= bucket << shift) ++symbol;
        words[entries - 1 - bucket] = symbol | (static_cast<uint32_t>(cdf[symbol + 1]) - 1) << 16;
    }
    for (uint32_t v = 0; v < symbols_and_escape; ++v)
        words[entries + v] = static_cast<uint32_t>(cdf[v]) | static_cast<uint32_t>(cdf[v + 1] - cdf[v]) << 16;
}

}  // namespace
}  // namespace rans

using namespace rans;

extern "C" rans_status rans_tables_create(const int32_t* cdfs, size_t stride, const int32_t* lengths,
                                          const int32_t* offsets, size_t rows, rans_tables** out,
                                          size_t* bad_row) {
    *out = nullptr;
    *bad_row = rows;
    if (rows == 0 || rows > kMaxRows) return RANS_BAD_TABLES;
    for (size_t r = 0; r < rows; ++r) {
        const bool fits =
            lengths[r] >= 3 && static_cast<uint32_t>(lengths[r]) <= std::min<size_t>(stride, kTotal + 1);
        if (!fits || !valid_row(cdfs + r * stride, lengths[r], offsets[r])) {
            *bad_row = r;
            return RANS_BAD_TABLES;
        }
    }
    try {
        auto tables = std::make_unique<rans_tables>();
        for (size_t r = 0; r < rows; ++r) {
            const int32_t* cdf = cdfs + r * stride;
            const uint32_t shift = choose_shift(cdf), symbols = static_cast<uint32_t>(lengths[r]) - 2;
            append_row(cdf, symbols + 1, shift, tables->words);
            const auto place = static_cast<uint32_t>(tables->words.size()) - (symbols + 1);
            tables->rows.push_back({place << 5 | shift, static_cast<uint16_t>(offsets[r]) | symbols << 16});
            const uint32_t* entries = tables->words.data() + place;
            const uint32_t* mode = std::max_element(entries, entries + symbols, [](uint32_t a, uint32_t b) {
                return entry_frequency(a) < entry_frequency(b);
            });
            tables->modes.push_back({*mode, static_cast<int16_t>(offsets[r] + (mode - entries)),
                                     entry_frequency(*mode) >= kDominantFrequency});
        }
        *out = tables.release();
        return RANS_OK;
    } catch (const std::bad_alloc&) {
        return RANS_OUT_OF_MEMORY;
    }
}

extern "C" void rans_tables_destroy(rans_tables* tables) { delete tables; }

extern "C" rans_status rans_tables_ideal_bits(const rans_tables* tables, const int16_t* symbols,
                                              const uint8_t* indexes, size_t count, double* bits) {
    try {
        const TableView view = tables->view();
        std::vector<uint64_t> uses(kTotal, 0);
        uint64_t escape_bits = 0;
        for (size_t i = 0; i < count; ++i) {
            if (indexes[i] >= view.row_count) return RANS_BAD_INDEX;
            const Row row = view.rows[indexes[i]];
            const uint32_t number = symbol_number(row, symbols[i]);
            ++uses[entry_frequency(view.words[row_entries(row) + number])];
            if (number == row_escape(row)) escape_bits += escape_of(row, symbols[i]).bits();
        }
        *bits = static_cast<double>(escape_bits);
        for (uint32_t frequency = 1; frequency < kTotal; ++frequency)
            if (uses[frequency])
                *bits += static_cast<double>(uses[frequency]) * (kPrecision - std::log2(frequency));
        return RANS_OK;
    } catch (const std::bad_alloc&) {
        return RANS_OUT_OF_MEMORY;
    }
}
