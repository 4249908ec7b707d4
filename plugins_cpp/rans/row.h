// One group of lanes in plain C++: the computation of every kernel, and the code path of groups that are not
// full.
#ifndef RANS_ROW_H
#define RANS_ROW_H

#include <cstdint>

#include "kernels.h"
#include "state.h"
#include "tables.h"

namespace rans {

// One symbol out of a state, bytes not yet read; whether it is an escape.
static inline bool decode_symbol(const TableView& tables, uint8_t index, uint32_t& x, int16_t& symbol) {
    const Mode mode = tables.modes[index];
    const uint32_t slot = x & (kTotal - 1);
    if (mode.dominant && slot - entry_start(mode.entry) < entry_frequency(mode.entry)) {
        x = pop(x, mode.entry);
        symbol = mode.symbol;
        return false;
    }
    const Row row = tables.rows[index];
    const uint32_t number = find_symbol(tables, row, slot);
    x = pop(x, tables.words[row_entries(row) + number]);
    symbol = static_cast<int16_t>(row_offset(row) + static_cast<int32_t>(number));
    return number == row_escape(row);
}

static inline bool decode_group(const TableView& tables, const uint8_t* indexes, unsigned lane_count,
                                uint32_t* lanes, const uint8_t*& next_byte, const uint8_t* end,
                                int16_t* symbols) {
    uint32_t escaped = 0;
    for (unsigned j = 0; j < lane_count; ++j)
        escaped |= static_cast<uint32_t>(decode_symbol(tables, indexes[j], lanes[j], symbols[j])) << j;
    const uint8_t* next = next_byte;
    for (int round = 0; round < 2; ++round) {
        for (unsigned j = 0; j < lane_count; ++j) {
            // No branch: whether a lane wants a byte is as good as random.
            const uint32_t low = lanes[j] < kLow;
            lanes[j] = lanes[j] << 8 * low | (*next & -low);
            next += low;
        }
    }
    next_byte = next;
    if (escaped && !decode_escapes(tables, indexes, escaped, lanes, next_byte, end, symbols)) return false;
    return next_byte <= end;
}

static inline void encode_group(const uint32_t* entries, unsigned lane_count, uint32_t* lanes,
                                uint8_t*& next_byte) {
    uint8_t* next = next_byte;
    for (int round = 2; round > 0; --round) {
        for (unsigned j = lane_count; j-- > 0;) {
            const uint32_t x = lanes[j];
            const uint32_t high = x >> (kLowBits - kPrecision + 8 * round) >= entry_frequency(entries[j]);
            lanes[j] = x >> 8 * high;
            next[-1] = static_cast<uint8_t>(x);
            next -= high;
        }
    }
    next_byte = next;
    for (unsigned j = 0; j < lane_count; ++j) lanes[j] = push(lanes[j], entries[j]);
}

}  // namespace rans

#endif
