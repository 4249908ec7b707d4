#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "handles.h"
#include "isa.h"
#include "row.h"
#include "start.h"

using namespace rans;

namespace {

// Fewest bytes of a stream with 1 << k lanes: README.md, "Cost", says why.
constexpr size_t kLeastBytes[kLaneLogs] = {0, 0, 100, 1000, 7000, 18000, 33000, 58000, 107000};

unsigned lane_log_for(size_t bytes) {
    unsigned log = kLaneLogs - 1;
    while (kLeastBytes[log] > bytes) --log;
    return log;
}

bool reserve(rans_encoder& e, size_t more) {
    if (more <= e.capacity - e.count) return true;
    if (more > SIZE_MAX / 16 - e.count) return false;
    const size_t capacity = std::max(e.count + more, 2 * e.capacity);
    void* grown = std::realloc(e.entries.get(), capacity * sizeof(uint32_t));
    if (!grown) return false;
    static_cast<void>(e.entries.release());
    e.entries.reset(static_cast<uint32_t*>(grown));
    e.capacity = capacity;
    return true;
}

uint64_t load64(const void* from) {
    uint64_t word;
    std::memcpy(&word, from, sizeof(word));
    return word;
}

// Appends the symbols' entries; whether there are escapes. Eight times a table's dominant symbol go at once.
bool look_up(const TableView& tables, const int16_t* symbols, const uint8_t* indexes, size_t count,
             uint32_t* entries) {
    const auto look_up_one = [&tables](int16_t symbol, uint8_t index, uint32_t& entry) {
        const Row row = tables.rows[index];
        const uint32_t number = symbol_number(row, symbol);
        entry = tables.words[row_entries(row) + number];
        return number == row_escape(row);
    };
    bool escaped = false;
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const Mode mode = tables.modes[indexes[i]];
        const uint64_t index = indexes[i] * 0x0101010101010101u;
        const uint64_t symbol = static_cast<uint16_t>(mode.symbol) * 0x0001000100010001u;
        if (mode.dominant && load64(indexes + i) == index && load64(symbols + i) == symbol &&
            load64(symbols + i + 4) == symbol) {
            std::fill_n(entries + i, 8, mode.entry);
        } else {
            for (size_t j = i; j < i + 8; ++j) escaped |= look_up_one(symbols[j], indexes[j], entries[j]);
        }
    }
    for (; i < count; ++i) escaped |= look_up_one(symbols[i], indexes[i], entries[i]);
    return escaped;
}

void find_escapes(rans_encoder& e, const TableView& tables, const int16_t* symbols, const uint8_t* indexes,
                  size_t count) {
    for (size_t i = 0; i < count; ++i) {
        const Row row = tables.rows[indexes[i]];
        if (symbol_number(row, symbols[i]) == row_escape(row))
            e.escapes.push_back({e.count + i, escape_of(row, symbols[i])});
    }
}

// Estimates the bytes that the symbols will take, from every 13th of them or fewer: a fifth too many at most,
// for the logarithm is straight between powers of two, as the bits of a float are. Only the number of lanes
// depends on it.
size_t estimate_bytes(const rans_encoder& e) {
    constexpr size_t kLeastStride = 13, kSamples = 8192;
    const size_t stride = std::max(kLeastStride, (e.count / kSamples) | 1);
    constexpr int kExponentBias = 127, kMantissaBits = 23;
    uint64_t bits = 0;  // in 1 / 65536
    for (size_t i = 0; i < e.count; i += stride) {
        const auto frequency = static_cast<float>(static_cast<int32_t>(entry_frequency(e.entries[i])));
        uint32_t log;
        std::memcpy(&log, &frequency, sizeof(log));
        bits += ((kPrecision + kExponentBias) << 16) - (log >> (kMantissaBits - 16));
    }
    return static_cast<size_t>(bits * stride >> 19);
}

class Writer {
  public:
    Writer(const rans_encoder& encoder, unsigned lane_log, uint8_t* end)
        : encoder_(encoder), log_(lane_log), next_(end), end_(end), escapes_(encoder.escapes.size()) {
        lanes_[0] = kSentinel;
    }

    // Encodes everything, last symbol first, downwards from the end. Returns the stream's first byte.
    const uint8_t* write() {
        size_t end = encoder_.count;
        for (size_t p = encoder_.pass_ends.size(); p-- > 0;) {
            const size_t begin = p > 0 ? encoder_.pass_ends[p - 1] : 0;
            while (end > begin) {
                end = open_log_ > 0 ? write_shared(begin, end) : write_alone(begin, end);
                open_lanes(end - begin, end > 0);
            }
        }
        if (open_log_ > 0)
            write_states(next_, 1u << open_log_, lanes_);
        else
            for (uint32_t x = lanes_[0]; x > 0; x >>= 8) *--next_ = static_cast<uint8_t>(x);
        write_header(next_, {open_log_, open_log_ > 0 ? rows_[open_log_] : 0,
                             open_log_ > kGroupLog ? rows_[kGroupLog] : 0});
        return next_;
    }

  private:
    static size_t last_row(size_t begin, size_t end, unsigned log) {
        return begin + ((end - 1 - begin) >> log << log);
    }

    bool escapes_from(size_t position) const {
        return escapes_ > 0 && encoder_.escapes[escapes_ - 1].position >= position;
    }

    // The lanes that are opened next: 32 first, because the bytes for more take the first lane long to write.
    unsigned next_log() const { return open_log_ < kGroupLog ? std::min(log_, kGroupLog) : log_; }

    // Opens more lanes if a row of theirs ends at `position` of a pass, something is left for them to code,
    // and there are bytes to fill them with.
    void open_lanes(size_t position, bool something_left) {
        const unsigned first = 1u << open_log_, lanes = 1u << next_log();
        const size_t bytes = size_t{lanes - first} * kCarriedBytes;
        if (position & (lanes - 1) || !something_left || static_cast<size_t>(end_ - next_) < bytes) return;
        for (unsigned j = first; j < lanes; ++j, next_ += kCarriedBytes)
            lanes_[j] = kCarriedMark | static_cast<uint32_t>(next_[0] << 16 | next_[1] << 8 | next_[2]);
        open_log_ = next_log();
    }

    // Encodes by the first lane alone what is a row of the lanes that are opened next.
    size_t write_alone(size_t begin, size_t end) {
        const size_t row = log_ > 0 ? last_row(begin, end, next_log()) : begin;
        uint32_t x = lanes_[0];
        uint8_t* next = next_;
        for (size_t i = end; i-- > row;) {
            if (escapes_from(i)) push_escape(x, next, encoder_.escapes[--escapes_].escape);
            const uint32_t entry = encoder_.entries[i];
            make_room(x, next, entry);
            x = entry_frequency(entry) > kTotal / 2 ? push_likely(x, entry) : push(x, entry);
        }
        lanes_[0] = x;
        next_ = next;
        return row;
    }

    // What push does, for frequencies above one half, of which there are long runs: multiplies by an inverse
    // that is kept. The product is below 2^63, its error below 1 / frequency: the quotient is exact.
    uint32_t push_likely(uint32_t x, uint32_t entry) {
        constexpr int kInverseBits = 47;
        const uint32_t frequency = entry_frequency(entry);
        if (frequency != likely_) {
            likely_ = frequency;
            inverse_ = (uint64_t{1} << kInverseBits) / frequency + 1;
        }
        const auto quotient = static_cast<uint32_t>(x * inverse_ >> kInverseBits);
        return x + quotient * (kTotal - frequency) + entry_start(entry);
    }

    // Encodes a pass by the lanes that are open now, or as much of it as is a row of the lanes that are
    // opened next.
    size_t write_shared(size_t begin, size_t end) {
        const size_t first = open_log_ < log_ ? last_row(begin, end, log_) : begin;
        rows_[open_log_] += ((end - first - 1) >> open_log_) + 1;
        while (end > first) end = write_groups(begin, first, end);
        return first;
    }

    // Encodes one group that is short or has escapes, or as many others as there are.
    size_t write_groups(size_t begin, size_t first, size_t end) {
        const unsigned log = std::min(open_log_, kGroupLog), sets = 1u << (open_log_ - log);
        const auto set_of = [=](size_t position) {
            return static_cast<unsigned>((position - begin) >> log) & (sets - 1);
        };
        const size_t group = last_row(begin, end, log);
        const auto width = static_cast<unsigned>(end - group);
        if (width < 1u << log || escapes_from(group)) {
            uint32_t* lanes = lanes_ + (set_of(group) << log);
            while (escapes_from(group)) {
                const rans_encoder::PlacedEscape& escape = encoder_.escapes[--escapes_];
                push_escape(lanes[escape.position - group], next_, escape.escape);
            }
            encode_group(&encoder_.entries[group], width, lanes, next_);
            return group;
        }
        if (escapes_from(first))
            first = last_row(begin, encoder_.escapes[escapes_ - 1].position + 1, log) + (size_t{1} << log);
        encoder_.kernels->encode[log](&encoder_.entries[first], (end - first) >> log, set_of(first), sets,
                                      lanes_, next_);
        return first;
    }

    const rans_encoder& encoder_;
    const unsigned log_;  // of the number of lanes asked for
    uint8_t* next_;
    const uint8_t* const end_;
    size_t escapes_;                 // those not yet written
    unsigned open_log_ = 0;          // of the number of lanes that are open
    uint64_t rows_[kLaneLogs] = {};  // written with as many lanes
    uint64_t inverse_ = 0;
    uint32_t likely_ = 0;  // the frequency of which it is the inverse
    uint32_t lanes_[kMaxLanes];
};

}  // namespace

extern "C" rans_status rans_encoder_create(rans_isa isa, rans_encoder** out) {
    *out = nullptr;
    const Kernels* kernels = kernels_for(isa);
    if (!kernels) return RANS_UNSUPPORTED;
    auto* encoder = new (std::nothrow) rans_encoder;
    if (!encoder) return RANS_OUT_OF_MEMORY;
    encoder->kernels = kernels;
    *out = encoder;
    return RANS_OK;
}

extern "C" void rans_encoder_destroy(rans_encoder* encoder) { delete encoder; }

extern "C" rans_status rans_encoder_push(rans_encoder* encoder, const rans_tables* tables,
                                         const int16_t* symbols, const uint8_t* indexes, size_t count) {
    rans_encoder& e = *encoder;
    if (!e.open) return RANS_BAD_CALL;
    const TableView view = tables->view();
    if (!indexes_fit(view, indexes, count)) return RANS_BAD_INDEX;
    if (!reserve(e, count)) return RANS_OUT_OF_MEMORY;
    try {
        if (look_up(view, symbols, indexes, count, e.entries.get() + e.count))
            find_escapes(e, view, symbols, indexes, count);
        e.count += count;
        e.pass_ends.push_back(e.count);
        return RANS_OK;
    } catch (const std::bad_alloc&) {
        e.open = false;
        return RANS_OUT_OF_MEMORY;
    }
}

extern "C" rans_status rans_encoder_finish(rans_encoder* encoder, unsigned lanes, const uint8_t** data,
                                           size_t* size) {
    rans_encoder& e = *encoder;
    if (lanes > kMaxLanes || (lanes & (lanes - 1))) return RANS_BAD_ARGUMENT;
    if (!e.open) return RANS_BAD_CALL;
    e.open = false;
    // No symbol takes more than two bytes, no escape more than three.
    const size_t capacity = 2 * e.count + 3 * e.escapes.size() + kMostStartBytes + kWriteSlack;
    e.stream.reset(static_cast<uint8_t*>(std::malloc(capacity)));
    if (!e.stream) return RANS_OUT_OF_MEMORY;
    uint8_t* end = e.stream.get() + capacity;
    unsigned log = lanes ? static_cast<unsigned>(__builtin_ctz(lanes)) : lane_log_for(estimate_bytes(e));
    *data = Writer(e, log, end).write();
    if (!lanes) {
        const unsigned fitting = lane_log_for(static_cast<size_t>(end - *data));
        if (fitting < log) *data = Writer(e, fitting, end).write();
    }
    *size = static_cast<size_t>(end - *data);
    return RANS_OK;
}
