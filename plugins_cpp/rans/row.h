// One row of lanes, in plain C++: what every kernel computes, and what codes the rows that are not full.
#ifndef RANS_ROW_H
#define RANS_ROW_H

#include <cstdint>

#include "kernels.h"
#include "state.h"
#include "tables.h"

namespace rans {

static inline bool decode_row(const TableView& tables, const uint8_t* indexes, unsigned lane_count,
                              uint32_t* lanes, const uint8_t*& next, const uint8_t* end, int16_t* symbols) {
    uint32_t escaped = 0;
    for (unsigned j = 0; j < lane_count; ++j) {
        const Row row = tables.rows[indexes[j]];
        const uint32_t symbol = find_symbol(tables, row, lanes[j] & (kTotal - 1));
        lanes[j] = pop(lanes[j], tables.words[row_entries(row) + symbol]);
        symbols[j] = static_cast<int16_t>(row_offset(row) + static_cast<int32_t>(symbol));
        escaped |= static_cast<uint32_t>(symbol == row_escape(row)) << j;
    }
    for (int round = 0; round < 2; ++round) {
        for (unsigned j = 0; j < lane_count; ++j) {
            // No branch: whether a lane wants a byte is as good as random.
            const uint32_t low = lanes[j] < kLow;
            lanes[j] = lanes[j] << 8 * low | (*next & -low);
            next += low;
        }
    }
    if (escaped && !decode_escapes(tables, indexes, escaped, lanes, next, end, symbols)) return false;
    return next <= end;
}

static inline void encode_row(const uint32_t* entries, unsigned lane_count, uint32_t* lanes, uint8_t*& next) {
    for (int round = 2; round > 0; --round) {
        for (unsigned j = lane_count; j-- > 0;) {
            const uint32_t high =
                lanes[j] >> (kLowBits + 8 * (round - 1) - kPrecision + 8) >= entry_frequency(entries[j]);
            next[-1] = static_cast<uint8_t>(lanes[j]);
            next -= high;
            lanes[j] >>= 8 * high;
        }
    }
    for (unsigned j = 0; j < lane_count; ++j) {
        lanes[j] = push(lanes[j], entries[j]);
    }
}

}  // namespace rans

#endif
