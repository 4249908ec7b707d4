// The loops over rows of lanes, one set of them for each instruction set.
#ifndef RANS_KERNELS_H
#define RANS_KERNELS_H

#include <cstddef>
#include <cstdint>

#include "tables.h"

namespace rans {

constexpr unsigned kLaneLogs = 6;  // 1, 2, 4, 8, 16 or 32 lanes

// How far past the end of the stream a kernel may read before it notices: a row's bytes and a vector's width.
constexpr size_t kReadSlack = 128;
// How far below its last written byte a kernel may write.
constexpr size_t kWriteSlack = 64;

// Decodes `rows` rows of all lanes. False when the stream is corrupt: `symbols` and `next` are then void.
using DecodeRows = bool (*)(const TableView& tables, const uint8_t* indexes, size_t rows, uint32_t* lanes,
                            const uint8_t*& next, const uint8_t* end, int16_t* symbols);

// Encodes `rows` rows of symbol entries, from the last to the first, writing downwards from `next`.
using EncodeRows = void (*)(const uint32_t* entries, size_t rows, uint32_t* lanes, uint8_t*& next);

struct Kernels {
    DecodeRows decode_rows[kLaneLogs];  // by the logarithm of the number of lanes
    EncodeRows encode_rows[kLaneLogs];
};

// The plain C++ loops; the others use them for few lanes. Defined, for 1 to 32 lanes, in kernels_scalar.cpp.
template <unsigned Lanes>
bool scalar_decode_rows(const TableView& tables, const uint8_t* indexes, size_t rows, uint32_t* lanes,
                        const uint8_t*& next, const uint8_t* end, int16_t* symbols);
template <unsigned Lanes>
void scalar_encode_rows(const uint32_t* entries, size_t rows, uint32_t* lanes, uint8_t*& next);

extern const Kernels scalar_kernels;
#if defined(RANS_X86)
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#endif

// Reads what the escaped symbols of one row (bits of `escaped`) carry. False when the stream is corrupt.
bool decode_escapes(const TableView& tables, const uint8_t* indexes, uint32_t escaped, uint32_t* lanes,
                    const uint8_t*& next, const uint8_t* end, int16_t* symbols);

}  // namespace rans

#endif
