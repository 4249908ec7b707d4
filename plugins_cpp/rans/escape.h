// Symbols beyond their table: which side, and how far from it, in 5 to 21 bits of the lane's own state.
#ifndef RANS_ESCAPE_H
#define RANS_ESCAPE_H

#include <cstdint>

#include "state.h"
#include "tables.h"

namespace rans {

constexpr uint32_t kWideClass = 15;  // distances of 15 and 16 bits, written in full
constexpr unsigned kHeadBits = 5, kWideBits = 16;

struct Escape {
    uint32_t head;  // length class of the distance << 1 | 1 when below the table
    uint32_t tail;  // the distance without its leading one, or all of it
    unsigned tail_bits;

    unsigned bits() const { return kHeadBits + tail_bits; }
};

static inline unsigned escape_tail_bits(uint32_t length_class) {
    if (length_class == kWideClass) return kWideBits;
    return length_class > 0 ? length_class - 1 : 0;
}

static inline Escape escape_of(Row row, int32_t symbol) {
    const bool below = symbol < row_offset(row);
    const int32_t end = row_offset(row) + static_cast<int32_t>(row_escape(row));
    const auto distance = static_cast<uint32_t>(below ? row_offset(row) - 1 - symbol : symbol - end);
    uint32_t length_class = 0;
    while (length_class < kWideClass && distance >> length_class) ++length_class;
    const unsigned tail_bits = escape_tail_bits(length_class);
    return {length_class << 1 | (below ? 1u : 0u), distance & ((1u << tail_bits) - 1), tail_bits};
}

static inline void push_escape(uint32_t& x, uint8_t*& next, const Escape& escape) {
    push_bits(x, next, escape.tail, escape.tail_bits);
    push_bits(x, next, escape.head, kHeadBits);
}

// False when what was read is no escape that an encoder writes.
static inline bool pop_escape(uint32_t& x, const uint8_t*& next, const uint8_t* end, Row row,
                              int16_t& symbol) {
    const uint32_t head = pop_bits(x, kHeadBits), length_class = head >> 1;
    refill(x, next, end);
    const unsigned tail_bits = escape_tail_bits(length_class);
    uint32_t distance = pop_bits(x, tail_bits);
    refill(x, next, end);
    if (length_class == kWideClass) {
        if (distance >> (kWideClass - 1) == 0) return false;
    } else if (length_class > 0) {
        distance |= 1u << tail_bits;
    }
    const auto away = static_cast<int32_t>(distance);
    const int32_t value = head & 1 ? row_offset(row) - 1 - away
                                   : row_offset(row) + static_cast<int32_t>(row_escape(row)) + away;
    symbol = static_cast<int16_t>(value);
    return value >= INT16_MIN && value <= INT16_MAX;
}

}  // namespace rans

#endif
