#include "cpu_features.h"
#include "escape.h"
#include "kernels.h"
#include "row.h"

namespace rans {

template <unsigned Lanes>
bool scalar_decode(const TableView& tables, const uint8_t* indexes, size_t groups, unsigned sets,
                   uint32_t* lanes, const uint8_t*& next, const uint8_t* end, int16_t* symbols) {
    for (size_t g = 0; g < groups; ++g, indexes += Lanes, symbols += Lanes)
        if (!decode_group(tables, indexes, Lanes, lanes + (g & (sets - 1)) * Lanes, next, end, symbols))
            return false;
    return true;
}

template <unsigned Lanes>
void scalar_encode(const uint32_t* entries, size_t groups, unsigned first_set, unsigned sets, uint32_t* lanes,
                   uint8_t*& next) {
    for (size_t g = groups; g-- > 0;)
        encode_group(entries + g * Lanes, Lanes, lanes + ((first_set + g) & (sets - 1)) * Lanes, next);
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
    kCompiledFeatures,
    {scalar_decode<1>, scalar_decode<2>, scalar_decode<4>, scalar_decode<8>, scalar_decode<16>,
     scalar_decode<32>},
    {scalar_encode<1>, scalar_encode<2>, scalar_encode<4>, scalar_encode<8>, scalar_encode<16>,
     scalar_encode<32>},
};

}  // namespace rans
