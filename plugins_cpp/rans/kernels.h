// The loops over groups of lanes, one set of them for each instruction set.
#ifndef RANS_KERNELS_H
#define RANS_KERNELS_H

#include <cstddef>
#include <cstdint>

#include "state.h"
#include "tables.h"

namespace rans {

// How far past the end of the stream a kernel may read before it checks: a group's bytes and a vector's
// width.
constexpr size_t kReadSlack = 128;
// How far below its last written byte a kernel may write.
constexpr size_t kWriteSlack = 64;

// A group is a row, or 32 lanes of a row of more. `lanes` holds the states of `sets` groups, which the groups
// of symbols use in turn. `sets` is a power of two, and 1 for groups of fewer than 32 lanes.
//
// Decodes `groups` groups, the first with the first set. Returns false if the stream is corrupt; `symbols`
// and `next` are then undefined.
using DecodeGroups = bool (*)(const TableView& tables, const uint8_t* indexes, size_t groups, unsigned sets,
                              uint32_t* lanes, const uint8_t*& next, const uint8_t* end, int16_t* symbols);

// Encodes `groups` groups of symbol entries, from the last to the first, writing downwards from `next`. The
// first group uses the set `first_set`.
using EncodeGroups = void (*)(const uint32_t* entries, size_t groups, unsigned first_set, unsigned sets,
                              uint32_t* lanes, uint8_t*& next);

struct Kernels {
    uint32_t features;                   // what the compiler was allowed to use, see cpu_features.h
    DecodeGroups decode[kGroupLog + 1];  // by the logarithm of the number of lanes in a group
    EncodeGroups encode[kGroupLog + 1];
};

// The plain C++ loops, defined in kernels_scalar.cpp for 1 to 32 lanes. The others use them for few lanes.
template <unsigned Lanes>
bool scalar_decode(const TableView& tables, const uint8_t* indexes, size_t groups, unsigned sets,
                   uint32_t* lanes, const uint8_t*& next, const uint8_t* end, int16_t* symbols);
template <unsigned Lanes>
void scalar_encode(const uint32_t* entries, size_t groups, unsigned first_set, unsigned sets, uint32_t* lanes,
                   uint8_t*& next);

extern const Kernels scalar_kernels;
#if defined(RANS_X86)
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#elif defined(RANS_ARM64)
extern const Kernels neon_kernels;
#endif

// Reads what the escaped symbols of one group (bits of `escaped`) carry. Returns false if the stream is
// corrupt.
bool decode_escapes(const TableView& tables, const uint8_t* indexes, uint32_t escaped, uint32_t* lanes,
                    const uint8_t*& next, const uint8_t* end, int16_t* symbols);

}  // namespace rans

#endif
