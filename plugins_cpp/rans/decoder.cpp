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

// One lane has bytes, for in a short stream its state is no larger than the message made it. No state begins
// with a zero byte: there is one way to write each.
bool read_only_state(rans_decoder& d) {
    if (d.next == d.end || *d.next == 0) return false;
    d.lanes[0] = 0;
    refill(d.lanes[0], d.next, d.end);
    return true;
}

bool read_start(rans_decoder& d) {
    Header header;
    if (!read_header(d.next, d.end, header)) return false;
    d.lane_log = header.lane_log;
    d.rows_left = header.rows;
    d.group_rows = header.group_rows;
    return d.lane_log > 0 ? read_states(d.next, d.end, 1u << d.lane_log, d.lanes) : read_only_state(d);
}

// Ends a part of the stream: some lanes give back the bytes that they took over when they were opened, and
// the others go on with these bytes. There is room for them before `next`, because the states took more.
bool close_lanes(rans_decoder& d) {
    const unsigned kept_log = d.lane_log > kGroupLog ? kGroupLog : 0;
    uint8_t* next = d.stream.get() + (d.next - d.stream.get());
    for (unsigned j = 1u << d.lane_log; j-- > 1u << kept_log;) {
        if (d.lanes[j] / kCarriedMark != 1) return false;
        for (unsigned byte = 0; byte < kCarriedBytes; ++byte)
            *--next = static_cast<uint8_t>(d.lanes[j] >> 8 * byte);
    }
    d.next = next;
    d.lane_log = kept_log;
    d.rows_left = d.group_rows;
    d.group_rows = 0;
    return true;
}

// Decodes `count` symbols of a pass, the first of them with the first lane.
bool decode_rows(rans_decoder& d, const TableView& tables, const uint8_t* indexes, int16_t* symbols,
                 size_t count) {
    const unsigned group_log = std::min(d.lane_log, kGroupLog), sets = 1u << (d.lane_log - group_log);
    const size_t groups = count >> group_log, done = groups << group_log;
    if (!d.kernels->decode[group_log](tables, indexes, groups, sets, d.lanes, d.next, d.end, symbols))
        return false;
    if (done == count) return true;
    uint32_t* lanes = d.lanes + ((groups & (sets - 1)) << group_log);
    return decode_group(tables, indexes + done, static_cast<unsigned>(count - done), lanes, d.next, d.end,
                        symbols + done);
}

// Decodes as much of a pass as belongs to the lanes that are open now, and closes those that end there.
bool decode_shared(rans_decoder& d, const TableView& tables, const uint8_t*& indexes, int16_t*& symbols,
                   size_t& count) {
    const size_t lanes = size_t{1} << d.lane_log;
    const uint64_t rows = std::min<uint64_t>((count + lanes - 1) >> d.lane_log, d.rows_left);
    const size_t part = std::min(count, static_cast<size_t>(rows) << d.lane_log);
    if (!decode_rows(d, tables, indexes, symbols, part)) return false;
    indexes += part, symbols += part, count -= part;
    d.rows_left -= rows;
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
    if (!read_start(*decoder)) return RANS_CORRUPT;
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
    while (d.rows_left > 0 && count > 0)
        if (!decode_shared(d, view, indexes, symbols, count)) return RANS_CORRUPT;
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
