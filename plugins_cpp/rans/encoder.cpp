#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "handles.h"
#include "isa.h"
#include "row.h"

using namespace rans;

namespace {

// Fewest bytes of a stream with 1 << k lanes. Each lane costs half a byte, its share of a byte at the other
// end, and all must stay within 12 bytes and a thousandth of the stream (README.md, "Cost").
constexpr size_t kLeastBytes[kLaneLogs] = {0, 0, 256, 1500, 8000, 20000};

unsigned lane_log_for(size_t bytes) {
    unsigned log = kLaneLogs - 1;
    while (kLeastBytes[log] > bytes) --log;
    return log;
}

constexpr size_t kBlock = 4096;

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

// Bytes that the symbols will take, from every 13th of them and a logarithm that is straight between powers
// of two: a fifth too many at most. Only the number of lanes hangs on it.
size_t estimate_bytes(const rans_encoder& e) {
    constexpr size_t kStride = 13;
    uint64_t bits = 0;  // in 1 / 65536
    for (size_t i = 0; i < e.count; i += kStride) {
        const uint32_t frequency = entry_frequency(e.entries[i]);
        const auto log = static_cast<uint32_t>(31 - __builtin_clz(frequency));
        bits += ((kPrecision + 1 - log) << 16) - (frequency << (16 - log));
    }
    return static_cast<size_t>(bits * kStride >> 19);
}

class Writer {
  public:
    Writer(const rans_encoder& encoder, unsigned lane_log, uint8_t* end)
        : encoder_(encoder), log_(lane_log), next_(end), end_(end), escapes_(encoder.escapes.size()) {
        lanes_[0] = kSentinel;
    }

    // Encodes everything, last symbol first, downwards from the end; the stream's first byte.
    const uint8_t* write() {
        size_t end = encoder_.count;
        for (size_t p = encoder_.pass_ends.size(); p-- > 0;) {
            const size_t begin = p > 0 ? encoder_.pass_ends[p - 1] : 0;
            while (end > begin) end = shared_ ? write_shared(begin, end) : write_alone(begin, end);
        }
        write_states();
        write_header();
        return next_;
    }

  private:
    size_t last_row(size_t begin, size_t end) const { return begin + ((end - 1 - begin) >> log_ << log_); }

    bool escapes_from(size_t position) const {
        return escapes_ > 0 && encoder_.escapes[escapes_ - 1].position >= position;
    }

    void push_escape_of(uint32_t& lane) { push_escape(lane, next_, encoder_.escapes[--escapes_].escape); }

    // One row's symbols by the first lane alone; opens the others as soon as there are bytes to fill them
    // with.
    size_t write_alone(size_t begin, size_t end) {
        const size_t row = last_row(begin, end);
        for (size_t i = end; i-- > row;) {
            if (escapes_from(i)) push_escape_of(lanes_[0]);
            push_symbol(lanes_[0], next_, encoder_.entries[i]);
        }
        const size_t others = (size_t{1} << log_) - 1;
        if (others > 0 && row > 0 && static_cast<size_t>(end_ - next_) >= others * kCarriedBytes) {
            for (size_t j = 1; j <= others; ++j, next_ += kCarriedBytes)
                lanes_[j] = kCarriedMark | static_cast<uint32_t>(next_[0] << 16 | next_[1] << 8 | next_[2]);
            shared_ = true;
        }
        return row;
    }

    // One row with its escapes, or as many full rows without any as there are.
    size_t write_shared(size_t begin, size_t end) {
        size_t row = last_row(begin, end);
        const auto width = static_cast<unsigned>(end - row);
        if (width < 1u << log_ || escapes_from(row)) {
            while (escapes_from(row)) push_escape_of(lanes_[encoder_.escapes[escapes_ - 1].position - row]);
            encode_row(&encoder_.entries[row], width, lanes_, next_);
            ++rows_;
            return row;
        }
        if (escapes_from(begin)) {
            const size_t past = encoder_.escapes[escapes_ - 1].position - begin + (size_t{1} << log_);
            begin += past >> log_ << log_;
        }
        const size_t rows = (end - begin) >> log_;
        encoder_.kernels->encode_rows[log_](&encoder_.entries[begin], rows, lanes_, next_);
        rows_ += rows;
        return begin;
    }

    // So that the decoder fills all lanes from zero, round by round, as it refills them later.
    void write_states() {
        if (!shared_) {
            for (uint32_t x = lanes_[0]; x > 0; x >>= 8) *--next_ = static_cast<uint8_t>(x);
            return;
        }
        for (int round = 4; round > 0; --round) {
            for (unsigned j = 1u << log_; j-- > 0;) {
                if (round == 4 && lanes_[j] < kLow << 1) continue;
                *--next_ = static_cast<uint8_t>(lanes_[j]);
                lanes_[j] >>= 8;
            }
        }
    }

    void write_header() {
        uint64_t value = rows_ << 3 | (shared_ ? log_ : 0);
        uint8_t bytes[10];
        size_t size = 0;
        for (; value > 0x7f; value >>= 7) bytes[size++] = static_cast<uint8_t>(value | 0x80);
        bytes[size++] = static_cast<uint8_t>(value);
        next_ -= size;
        std::memcpy(next_, bytes, size);
    }

    const rans_encoder& encoder_;
    const unsigned log_;
    uint8_t* next_;
    const uint8_t* const end_;
    size_t escapes_;  // those not yet written
    uint64_t rows_ = 0;
    bool shared_ = false;
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
    try {
        if (!reserve(e, count)) return RANS_OUT_OF_MEMORY;
        for (size_t first = 0; first < count; first += kBlock) {
            const size_t size = std::min(kBlock, count - first);
            const bool escaped =
                e.kernels->look_up(view, symbols + first, indexes + first, size, &e.entries[e.count + first]);
            for (size_t i = first; escaped && i < first + size; ++i) {
                const Row row = view.rows[indexes[i]];
                if (symbol_slot(row, symbols[i]) != row_escape(row)) continue;
                e.escapes.push_back({e.count + i, escape_of(row, symbols[i])});
            }
        }
        e.pass_ends.push_back(e.count + count);
        e.count += count;
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
    const size_t capacity = 2 * e.count + 3 * e.escapes.size() + 4 * kMaxLanes + 16 + kWriteSlack;
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
