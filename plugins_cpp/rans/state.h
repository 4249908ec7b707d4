// One lane: its state, and how bits and symbols go into it and come out.
#ifndef RANS_STATE_H
#define RANS_STATE_H

#include <cstdint>

#include "tables.h"

namespace rans {

// A running lane's state is in [kLow, kLow << 8); bytes go to and come from the stream to keep it there.
constexpr int kLowBits = 23;
constexpr uint32_t kLow = 1u << kLowBits;
// What the encoder starts with and the decoder must end with. Every coding step makes it larger, and decoding
// one more symbol than was coded makes it smaller: both are noticed.
constexpr uint32_t kSentinel = 0xffff;

constexpr unsigned kLaneLogs = 9;  // 1, 2, 4, ... or 256 lanes
constexpr unsigned kMaxLanes = 1u << (kLaneLogs - 1);
// A row of more than 32 lanes is coded in groups of 32 consecutive lanes, one group after the other.
constexpr unsigned kGroupLog = 5;
constexpr unsigned kGroupLanes = 1u << kGroupLog;

// All lanes but the first hold, where they are opened and closed, 1 and the three bytes that they took over.
constexpr unsigned kCarriedBytes = 3;
constexpr uint32_t kCarriedMark = 1u << 24;

// Reads bytes until x is large enough or there is none left.
static inline void refill(uint32_t& x, const uint8_t*& next, const uint8_t* end) {
    while (x < kLow && next < end) x = x << 8 | *next++;
}

// The state before a symbol was coded, bytes not yet read.
static inline uint32_t pop(uint32_t x, uint32_t entry) {
    return entry_frequency(entry) * (x >> kPrecision) + (x & (kTotal - 1)) - entry_start(entry);
}

static inline uint32_t pop_bits(uint32_t& x, unsigned bits) {
    const uint32_t value = x & ((1u << bits) - 1);
    x >>= bits;
    return value;
}

// Writes the bytes of x that leave no room for `bits` more bits, downwards from `next`.
static inline void push_bits(uint32_t& x, uint8_t*& next, uint32_t value, unsigned bits) {
    for (; x >> (kLowBits + 8 - bits); x >>= 8) *--next = static_cast<uint8_t>(x);
    x = x << bits | value;
}

// Writes the bytes of x that leave no room for the symbol, downwards from `next`.
static inline void make_room(uint32_t& x, uint8_t*& next, uint32_t entry) {
    for (; x >> (kLowBits + 8 - kPrecision) >= entry_frequency(entry); x >>= 8)
        *--next = static_cast<uint8_t>(x);
}

// The state with the symbol in it. There must be room.
static inline uint32_t push(uint32_t x, uint32_t entry) {
    const uint32_t frequency = entry_frequency(entry), quotient = x / frequency;
    return x + quotient * (kTotal - frequency) + entry_start(entry);
}

}  // namespace rans

#endif
