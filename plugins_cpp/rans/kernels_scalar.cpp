#include "escape.h"
#include "kernels.h"
#include "row.h"

namespace rans {

template <unsigned Lanes>
bool scalar_decode_rows(const TableView& tables, const uint8_t* indexes, size_t rows, uint32_t* lanes,
                        const uint8_t*& next, const uint8_t* end, int16_t* symbols) {
    for (; rows > 0; --rows, indexes += Lanes, symbols += Lanes)
        if (!decode_row(tables, indexes, Lanes, lanes, next, end, symbols)) return false;
    return true;
}

template <unsigned Lanes>
void scalar_encode_rows(const uint32_t* entries, size_t rows, uint32_t* lanes, uint8_t*& next) {
    while (rows > 0) encode_row(entries + --rows * Lanes, Lanes, lanes, next);
}
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
    {scalar_decode_rows<1>, scalar_decode_rows<2>, scalar_decode_rows<4>, scalar_decode_rows<8>,
     scalar_decode_rows<16>, scalar_decode_rows<32>},
    {scalar_encode_rows<1>, scalar_encode_rows<2>, scalar_encode_rows<4>, scalar_encode_rows<8>,
     scalar_encode_rows<16>, scalar_encode_rows<32>},
};

}  // namespace rans
