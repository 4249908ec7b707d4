#include "escape.h"
#include "kernels.h"
#include "row.h"

namespace rans {
namespace {

template <unsigned Lanes>
bool decode_rows(const TableView& tables, const uint8_t* indexes, size_t rows, uint32_t* lanes,
                 const uint8_t*& next, const uint8_t* end, int16_t* symbols) {
    for (; rows > 0; --rows, indexes += Lanes, symbols += Lanes)
        if (!decode_row(tables, indexes, Lanes, lanes, next, end, symbols)) return false;
    return true;
}

template <unsigned Lanes>
void encode_rows(const uint32_t* entries, size_t rows, uint32_t* lanes, uint8_t*& next) {
    while (rows > 0) encode_row(entries + --rows * Lanes, Lanes, lanes, next);
}

bool look_up(const TableView& tables, const int16_t* symbols, const uint8_t* indexes, size_t count,
             uint32_t* entries) {
    bool escaped = false;
    for (size_t i = 0; i < count; ++i) {
        const Row row = tables.rows[indexes[i]];
        const uint32_t slot = symbol_slot(row, symbols[i]);
        entries[i] = tables.words[row_symbols(row) + slot];
        escaped |= slot == row_escape(row);
    }
    return escaped;
}

}  // namespace

bool decode_escapes(const TableView& tables, const uint8_t* indexes, uint32_t escaped, uint32_t* lanes,
                    const uint8_t*& next, const uint8_t* end, int16_t* symbols) {
    if (next > end) return false;
    for (unsigned j = 0; escaped; ++j, escaped >>= 1) {
        if (!(escaped & 1)) continue;
        if (!pop_escape(lanes[j], next, end, tables.rows[indexes[j]], symbols[j]) || lanes[j] < kLow)
            return false;
    }
    return true;
}

const Kernels scalar_kernels = {
    look_up,
    {decode_rows<1>, decode_rows<2>, decode_rows<4>, decode_rows<8>, decode_rows<16>, decode_rows<32>},
    {encode_rows<1>, encode_rows<2>, encode_rows<4>, encode_rows<8>, encode_rows<16>, encode_rows<32>},
};

}  // namespace rans
