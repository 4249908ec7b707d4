// How a stream begins: the header, which says how many lanes there are for how long, and the lanes' states.
#ifndef RANS_START_H
#define RANS_START_H

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "state.h"

namespace rans {

struct Header {
    unsigned lane_log = 0;    // the stream begins with 1 << lane_log lanes
    uint64_t rows = 0;        // rows of all these lanes; 0 if and only if there is one lane
    uint64_t group_rows = 0;  // rows of 32 lanes that follow; 0 if and only if there were no more lanes
};

// What the header has in the place of the logarithm of a number of lanes above 32.
constexpr unsigned kManyLanes = kGroupLog + 1;
constexpr unsigned kLaneBits = 3, kManyBits = 2;

constexpr size_t kMostVarint = 10;
// Each lane but the only one is written as how many bits its state has above kLow, and the bits below its
// first.
constexpr unsigned kScaleBits = 3;
constexpr size_t kMostStartBytes =
    2 * kMostVarint + (kMaxLanes * (kScaleBits + kLowBits + (1 << kScaleBits) - 1) + 7) / 8;

// Reads a little-endian base-128 number. Returns false if the stream ends, or has needless bytes.
static inline bool read_varint(const uint8_t*& next, const uint8_t* end, uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; next != end && shift <= 56; shift += 7) {
        const uint8_t byte = *next++;
        value |= static_cast<uint64_t>(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return byte != 0 || shift == 0;
    }
    return false;
}

static inline void write_varint(uint8_t*& next, uint64_t value) {
    uint8_t bytes[kMostVarint];
    size_t size = 0;
    for (; value > 0x7f; value >>= 7) bytes[size++] = static_cast<uint8_t>(value | 0x80);
    bytes[size++] = static_cast<uint8_t>(value);
    next -= size;
    std::memcpy(next, bytes, size);
}

static inline bool read_header(const uint8_t*& next, const uint8_t* end, Header& header) {
    uint64_t value;
    if (!read_varint(next, end, value)) return false;
    header.lane_log = value & ((1u << kLaneBits) - 1);
    header.rows = value >> kLaneBits;
    if (header.lane_log == kManyLanes) {
        if (!read_varint(next, end, value)) return false;
        header.lane_log += value & ((1u << kManyBits) - 1);
        header.group_rows = value >> kManyBits;
        return header.lane_log < kLaneLogs && header.rows > 0 && header.group_rows > 0;
    }
    return header.lane_log <= kGroupLog && (header.lane_log > 0) == (header.rows > 0);
}

static inline void write_header(uint8_t*& next, const Header& header) {
    const bool many = header.lane_log > kGroupLog;
    if (many) write_varint(next, header.group_rows << kManyBits | (header.lane_log - kManyLanes));
    write_varint(next, header.rows << kLaneBits | (many ? kManyLanes : header.lane_log));
}

// Returns `count` bits, at most 32, of a little-endian field of bits. Five bytes from bit `place` on are
// readable.
static inline uint32_t bits_at(const uint8_t* field, size_t place, unsigned count) {
    uint64_t word = 0;
    for (unsigned byte = 0; byte < 5; ++byte)
        word |= static_cast<uint64_t>(field[place / 8 + byte]) << 8 * byte;
    return static_cast<uint32_t>(word >> place % 8 & ((uint64_t{1} << count) - 1));
}

// Reads the states of two or more lanes. Returns false if the stream ends, or if the last byte is not filled
// with 0.
static inline bool read_states(const uint8_t*& next, const uint8_t* end, unsigned lane_count,
                               uint32_t* lanes) {
    const auto left = static_cast<size_t>(end - next);
    size_t bits = size_t{kScaleBits} * lane_count, place = bits;
    if (left < (bits + 7) / 8) return false;
    for (unsigned j = 0; j < lane_count; ++j) bits += kLowBits + bits_at(next, j * kScaleBits, kScaleBits);
    const size_t bytes = (bits + 7) / 8;
    if (left < bytes || next[bytes - 1] >> ((bits - 1) % 8) >> 1) return false;
    for (unsigned j = 0; j < lane_count; ++j) {
        const unsigned size = kLowBits + bits_at(next, j * kScaleBits, kScaleBits);
        lanes[j] = 1u << size | bits_at(next, place, size);
        place += size;
    }
    next += bytes;
    return true;
}

static inline void write_states(uint8_t*& next, unsigned lane_count, const uint32_t* lanes) {
    const auto size_of = [](uint32_t x) { return 31u - static_cast<unsigned>(__builtin_clz(x)); };
    size_t bits = size_t{kScaleBits} * lane_count, place = bits;
    for (unsigned j = 0; j < lane_count; ++j) bits += size_of(lanes[j]);
    const size_t bytes = (bits + 7) / 8;
    next -= bytes;
    std::memset(next, 0, bytes);
    const auto write_bits = [next](size_t at, uint32_t value) {
        for (uint64_t word = static_cast<uint64_t>(value) << at % 8; word; word >>= 8, at += 8)
            next[at / 8] |= static_cast<uint8_t>(word);
    };
    for (unsigned j = 0; j < lane_count; ++j) {
        const unsigned size = size_of(lanes[j]);
        write_bits(j * kScaleBits, size - kLowBits);
        write_bits(place, lanes[j] ^ 1u << size);
        place += size;
    }
}

}  // namespace rans

#endif
