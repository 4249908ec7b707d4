#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "handles.h"
#include "isa.h"
#include "row.h"

using namespace rans;

namespace {

// The header: a little-endian base-128 number, 8 * rows + log2(lanes).
bool read_header(rans_decoder& d) {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        if (d.next == d.end || shift > 56) return false;
        const uint8_t byte = *d.next++;
        value |= static_cast<uint64_t>(byte & 0x7f) << shift;
        if (byte & 0x80) continue;
        if (byte == 0 && shift > 0) return false;
        break;
    }
    const unsigned log = value & 7;
    d.rows_left = value >> 3;
    d.lane_count = 1u << log;
    return log < kLaneLogs && (log > 0) == (d.rows_left > 0);
}

// No state begins with a zero byte: there is one way to write it.
bool read_states(rans_decoder& d) {
    for (unsigned j = 0; j < d.lane_count; ++j) {
        if (d.next == d.end || *d.next == 0) return false;
        d.lanes[j] = *d.next++;
    }
    if (d.lane_count == 1) {
        refill(d.lanes[0], d.next, d.end);
    } else {
        for (int round = 1; round < 4; ++round)
            for (unsigned j = 0; j < d.lane_count; ++j)
                if (d.lanes[j] < kLow && d.next < d.end) d.lanes[j] = d.lanes[j] << 8 | *d.next++;
        for (unsigned j = 0; j < d.lane_count; ++j)
            if (d.lanes[j] < kLow) return false;
    }
    return true;
}

// Ends the part of the stream that all lanes share: the others give back the bytes that they took over when
// they were opened, and the first goes on with them. There is room before `next`: the states took more.
bool close_lanes(rans_decoder& d) {
    uint8_t* next = d.stream.get() + (d.next - d.stream.get());
    for (unsigned j = d.lane_count; --j > 0;) {
        if (d.lanes[j] / kCarriedMark != 1) return false;
        for (unsigned byte = 0; byte < kCarriedBytes; ++byte)
            *--next = static_cast<uint8_t>(d.lanes[j] >> 8 * byte);
    }
    d.next = next;
    return true;
}

bool decode_shared(rans_decoder& d, const TableView& tables, const uint8_t*& indexes, int16_t*& symbols,
                   size_t& count) {
    const unsigned log = static_cast<unsigned>(__builtin_ctz(d.lane_count));
    const size_t full = static_cast<size_t>(std::min<uint64_t>(count >> log, d.rows_left));
    if (!d.kernels->decode_rows[log](tables, indexes, full, d.lanes, d.next, d.end, symbols)) return false;
    size_t done = full << log;
    d.rows_left -= full;
    if (d.rows_left > 0 && done < count) {
        const auto rest = static_cast<unsigned>(count - done);
        if (!decode_row(tables, indexes + done, rest, d.lanes, d.next, d.end, symbols + done)) return false;
        done = count;
        --d.rows_left;
    }
    indexes += done, symbols += done, count -= done;
    return d.rows_left > 0 || close_lanes(d);
}

bool decode_alone(rans_decoder& d, const TableView& tables, const uint8_t* indexes, int16_t* symbols,
                  size_t count) {
    uint32_t x = d.lanes[0];
    const uint8_t* next = d.next;
    for (size_t i = 0; i < count; ++i) {
        const bool escaped = decode_symbol(tables, indexes[i], x, symbols[i]);
        refill(x, next, d.end);
        if (escaped && !pop_escape(x, next, d.end, tables.rows[indexes[i]], symbols[i])) return false;
    }
    d.lanes[0] = x;
    d.next = next;
    return true;
}

}  // namespace

extern "C" rans_status rans_decoder_create(const uint8_t* data, size_t size, rans_isa isa,
                                           rans_decoder** out) {
    *out = nullptr;
    const Kernels* kernels = kernels_for(isa);
    if (!kernels) return RANS_UNSUPPORTED;
    std::unique_ptr<rans_decoder> decoder(new (std::nothrow) rans_decoder);
    if (!decoder) return RANS_OUT_OF_MEMORY;
    decoder->kernels = kernels;
    decoder->stream.reset(static_cast<uint8_t*>(std::malloc(size + kReadSlack)));
    if (!decoder->stream) return RANS_OUT_OF_MEMORY;
    if (size) std::memcpy(decoder->stream.get(), data, size);
    std::memset(decoder->stream.get() + size, 0, kReadSlack);
    decoder->next = decoder->stream.get();
    decoder->end = decoder->next + size;
    if (!read_header(*decoder) || !read_states(*decoder)) return RANS_CORRUPT;
    *out = decoder.release();
    return RANS_OK;
}

extern "C" void rans_decoder_destroy(rans_decoder* decoder) { delete decoder; }

extern "C" rans_status rans_decoder_decode(rans_decoder* decoder, const rans_tables* tables,
                                           const uint8_t* indexes, int16_t* symbols, size_t count) {
    rans_decoder& d = *decoder;
    if (!d.open) return RANS_BAD_CALL;
    d.open = false;
    const TableView view = tables->view();
    if (!indexes_fit(view, indexes, count)) return RANS_BAD_INDEX;
    if (d.rows_left > 0 && !decode_shared(d, view, indexes, symbols, count)) return RANS_CORRUPT;
    if (!decode_alone(d, view, indexes, symbols, count)) return RANS_CORRUPT;
    d.open = true;
    return RANS_OK;
}

extern "C" rans_status rans_decoder_finish(rans_decoder* decoder) {
    rans_decoder& d = *decoder;
    if (!d.open) return RANS_BAD_CALL;
    d.open = false;
    const bool complete = d.rows_left == 0 && d.next == d.end && d.lanes[0] == kSentinel;
    return complete ? RANS_OK : RANS_CORRUPT;
}
