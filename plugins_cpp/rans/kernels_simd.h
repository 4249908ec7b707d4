// The kernels over vectors of lanes, for any instruction set that describes its vectors by a class V:
//
//   kWidth                      lanes of a vector (of 32 bits each)
//   Vec, Mask                   a vector, and one truth value a lane
//   set, load, store            broadcast; lanes in memory order
//   load_bytes, store_int16     kWidth uint8 values, widened; the low halves of the lanes
//   load_rows                   kWidth Rows, as one vector of places and one of ranges
//   gather(base, i)             base[i] of each lane
//   less, not_less, equal       comparisons; less only of numbers below 2^31
//   bits(m), count(m)           a mask as an integer, bit j for lane j; how many of its lanes are true
//   select(m, a, b)             a where m, else b
//   take_bytes(x, m, next)      x << 8 | byte in the lanes of m, the bytes in the order of the lanes
//   put_bytes(x, m, next)       writes the low bytes of the lanes of m, in their order, to end at next
//   quotient(x, f)              x / f or one less, for x / f in [128, 2^15)
//
// V must be in an anonymous namespace, so that the linker cannot share code made for one CPU with others.
#ifndef RANS_KERNELS_SIMD_H
#define RANS_KERNELS_SIMD_H

#include <cstring>

#include "kernels.h"
#include "row.h"
#include "state.h"
#include "tables.h"

namespace rans {

// Three float roundings leave a quotient below 2^15 off by less than this: without it, it is never too large.
constexpr float kQuotientBias = 1.0f / 128;

template <class V, unsigned Lanes>
struct SimdKernels {
    using Vec = typename V::Vec;
    using Mask = typename V::Mask;
    static constexpr unsigned kVecs = Lanes / V::kWidth;

    static bool decode(const TableView& tables, const uint8_t* indexes, size_t groups, unsigned sets,
                       uint32_t* lanes, const uint8_t*& next, const uint8_t* end, int16_t* symbols) {
        if constexpr (Lanes == kGroupLanes)
            if (sets > 1)
                return decode_in_turn<true>(tables, indexes, groups, sets, lanes, next, end, symbols);
        return decode_in_turn<false>(tables, indexes, groups, 1, lanes, next, end, symbols);
    }

    static void encode(const uint32_t* entries, size_t groups, unsigned first_set, unsigned sets,
                       uint32_t* lanes, uint8_t*& next) {
        if constexpr (Lanes == kGroupLanes)
            if (sets > 1) return encode_in_turn<true>(entries, groups, first_set, sets, lanes, next);
        encode_in_turn<false>(entries, groups, 0, 1, lanes, next);
    }

  private:
    static void load(Vec (&x)[kVecs], const uint32_t* lanes) {
        for (unsigned k = 0; k < kVecs; ++k) x[k] = V::load(lanes + k * V::kWidth);
    }

    static void store(uint32_t* lanes, const Vec (&x)[kVecs]) {
        for (unsigned k = 0; k < kVecs; ++k) V::store(lanes + k * V::kWidth, x[k]);
    }

    // With one set, the states stay in registers.
    template <bool Several>
    static bool decode_in_turn(const TableView& tables, const uint8_t* indexes, size_t groups, unsigned sets,
                               uint32_t* lanes, const uint8_t*& next_byte, const uint8_t* end,
                               int16_t* symbols) {
        if (groups == 0) return true;
        const uint8_t* next = next_byte;
        uint32_t* const last_set = lanes + (sets - 1) * Lanes;
        uint32_t* states = lanes;
        Vec x[kVecs];
        if (!Several) load(x, states);
        Row staged[2][Lanes];
        bool sound = true, alike = stage(tables, indexes, staged[0]);
        for (unsigned turn = 0; sound && groups > 0; --groups, turn ^= 1) {
            const uint8_t* following = indexes + Lanes;
            const bool following_alike = groups > 1 && stage(tables, following, staged[turn ^ 1]);
            if (Several) load(x, states);
            uint32_t escaped = 0;
            if (alike) {
                if (!decode_mode(tables.modes[*indexes], x, symbols)) {
                    stage_each(tables, indexes, staged[turn]);
                    escaped = decode_any(tables.words, staged[turn], x, symbols);
                }
            } else {
                escaped = decode_any(tables.words, staged[turn], x, symbols);
            }
            refill(x, next);
            if (escaped) {
                store(states, x);
                sound = decode_escapes(tables, indexes, escaped, states, next, end, symbols);
                load(x, states);
            }
            if (Several) {
                store(states, x);
                states = states == last_set ? lanes : states + Lanes;
            }
            sound = sound && next <= end;
            alike = following_alike;
            indexes = following;
            symbols += Lanes;
        }
        if (!Several) store(states, x);
        next_byte = next;
        return sound;
    }

    template <bool Several>
    static void encode_in_turn(const uint32_t* entries, size_t groups, unsigned first_set, unsigned sets,
                               uint32_t* lanes, uint8_t*& next_byte) {
        uint8_t* next = next_byte;
        Vec x[kVecs], start[kVecs], frequency[kVecs];
        if (!Several) load(x, lanes);
        while (groups > 0) {
            const uint32_t* group = entries + --groups * Lanes;
            uint32_t* const states = lanes + ((first_set + groups) & (sets - 1)) * Lanes;
            if (Several) load(x, states);
            Mask two[kVecs];
            uint32_t any_two = 0;
            for (unsigned k = 0; k < kVecs; ++k) {
                const Vec entry = V::load(group + k * V::kWidth);
                start[k] = V::bit_and(entry, V::set(0xffff));
                frequency[k] = V::template shift_right<16>(entry);
                two[k] = V::not_less(V::template shift_right<23>(x[k]), frequency[k]);
                any_two |= V::bits(two[k]);
            }
            if (any_two)
                for (unsigned k = kVecs; k-- > 0;) x[k] = emit(x[k], two[k], next);
            for (unsigned k = kVecs; k-- > 0;) {
                const Mask one = V::not_less(V::template shift_right<15>(x[k]), frequency[k]);
                x[k] = emit(x[k], one, next);
            }
            for (unsigned k = 0; k < kVecs; ++k) {
                const Vec low = V::quotient(x[k], frequency[k]);
                const Vec rest = V::sub(x[k], V::mul(low, frequency[k]));
                const Mask short_by_one = V::not_less(rest, frequency[k]);
                const Vec remainder = V::select(short_by_one, V::sub(rest, frequency[k]), rest);
                const Vec quotient = V::select(short_by_one, V::add(low, V::set(1)), low);
                x[k] = V::add(V::template shift_left<16>(quotient), V::add(remainder, start[k]));
            }
            if (Several) store(states, x);
        }
        if (!Several) store(lanes, x);
        next_byte = next;
    }

    // Whether all lanes have one table, whose most probable symbol is worth a try; if not, fetches each
    // lane's table early enough for the stores to be over when decode_any loads them as vectors.
    static bool stage(const TableView& tables, const uint8_t* indexes, Row* staged) {
        const uint64_t first = indexes[0] * 0x0101010101010101u;
        uint64_t differ = 0, word;
        for (unsigned j = 0; j < Lanes; j += 8) {
            std::memcpy(&word, indexes + j, 8);
            differ |= word ^ first;
        }
        if (differ == 0 && tables.modes[*indexes].dominant) return true;
        stage_each(tables, indexes, staged);
        return false;
    }

    static void stage_each(const TableView& tables, const uint8_t* indexes, Row* staged) {
#pragma GCC unroll 8
        for (unsigned j = 0; j < Lanes; ++j) staged[j] = tables.rows[indexes[j]];
    }

    // All lanes at once, if all hold the most probable symbol of one table.
    static bool decode_mode(const Mode& mode, Vec (&x)[kVecs], int16_t* symbols) {
        const Vec start = V::set(entry_start(mode.entry)), frequency = V::set(entry_frequency(mode.entry));
        Vec beyond[kVecs];
        uint32_t others = 0;
        for (unsigned k = 0; k < kVecs; ++k) {
            const Vec slot = V::bit_and(x[k], V::set(kTotal - 1));
            beyond[k] = V::sub(slot, start);
            others |= V::bits(V::not_less(beyond[k], frequency));  // also where slot < start: it wraps around
        }
        if (others) return false;
        for (unsigned k = 0; k < kVecs; ++k) {
            x[k] = V::add(V::mul(frequency, V::template shift_right<16>(x[k])), beyond[k]);
            V::store_int16(symbols + k * V::kWidth, V::set(static_cast<uint32_t>(mode.symbol)));
        }
        return true;
    }

    // Decodes the group's symbols except the escapes. Returns a bit for each escape.
    static uint32_t decode_any(const uint32_t* words, const Row* staged, Vec (&x)[kVecs], int16_t* symbols) {
        uint32_t escaped = 0;
#pragma GCC unroll 4
        for (unsigned k = 0; k < kVecs; ++k) {
            Vec place, range;
            V::load_rows(staged + k * V::kWidth, place, range);
            const Vec entries = V::template shift_right<5>(place), shift = V::bit_and(place, V::set(31));
            const Vec escape = V::template shift_right<16>(range);
            const Vec offset = V::template shift_right_signed<16>(V::template shift_left<16>(range));

            const Vec slot = V::bit_and(x[k], V::set(kTotal - 1));
            const Vec hint = V::gather(words - 1, V::sub(entries, V::shift_right_by(slot, shift)));
            const Mask past = V::less(V::template shift_right<16>(hint), slot);
            const Vec first = V::bit_and(hint, V::set(0xffff));
            Vec symbol = V::select(past, V::add(first, V::set(1)), first);
            Vec entry = V::gather(words, V::add(entries, symbol));
            Vec beyond = V::sub(slot, V::bit_and(entry, V::set(0xffff)));
            const Mask missed = V::not_less(beyond, V::template shift_right<16>(entry));
            if (V::bits(missed)) {
                symbol = search(words, staged + k * V::kWidth, symbol, slot, V::bits(missed));
                entry = V::gather(words, V::add(entries, symbol));
                beyond = V::sub(slot, V::bit_and(entry, V::set(0xffff)));
            }
            x[k] =
                V::add(V::mul(V::template shift_right<16>(entry), V::template shift_right<16>(x[k])), beyond);
            V::store_int16(symbols + k * V::kWidth, V::add(symbol, offset));
            escaped |= V::bits(V::equal(symbol, escape)) << k * V::kWidth;
        }
        return escaped;
    }

    static Vec search(const uint32_t* words, const Row* staged, Vec symbol, Vec slot, uint32_t missed) {
        uint32_t found[V::kWidth], wanted[V::kWidth];
        V::store(found, symbol), V::store(wanted, slot);
        for (unsigned j = 0; missed; ++j, missed >>= 1) {
            if (!(missed & 1)) continue;
            const Row row = staged[j];
            found[j] =
                search_symbol(words + row_entries(row), row_escape(row), row_shift(row), found[j], wanted[j]);
        }
        return V::load(found);
    }

    static void refill(Vec (&x)[kVecs], const uint8_t*& next) {
        Mask two[kVecs];
        uint32_t any_two = 0;
        for (unsigned k = 0; k < kVecs; ++k) {
            two[k] = V::less(x[k], V::set(kLow >> 8));
            any_two |= V::bits(two[k]);
            const Mask one = V::less(x[k], V::set(kLow));
            x[k] = V::take_bytes(x[k], one, next);
            next += V::count(one);
        }
        if (!any_two) return;
        for (unsigned k = 0; k < kVecs; ++k) {
            x[k] = V::take_bytes(x[k], two[k], next);
            next += V::count(two[k]);
        }
    }

    static Vec emit(Vec x, Mask lanes, uint8_t*& next) {
        V::put_bytes(x, lanes, next);
        next -= V::count(lanes);
        return V::select(lanes, V::template shift_right<8>(x), x);
    }
};

}  // namespace rans

#endif
