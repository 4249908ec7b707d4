// What the opaque pointers of rans.h point to.
#ifndef RANS_HANDLES_H
#define RANS_HANDLES_H

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "escape.h"
#include "kernels.h"
#include "rans.h"
#include "state.h"
#include "tables.h"

namespace rans {

struct Free {
    void operator()(void* memory) const { std::free(memory); }
};

// Memory that is not cleared when it is taken: it is written once, front to back or back to front.
template <class T>
using RawArray = std::unique_ptr<T[], Free>;

}  // namespace rans

struct rans_tables {
    std::vector<uint32_t> words;
    std::vector<rans::Row> rows;
    std::vector<rans::Mode> modes;

    rans::TableView view() const { return {words.data(), rows.data(), modes.data(), rows.size()}; }
};

struct rans_encoder {
    struct PlacedEscape {
        size_t position;
        rans::Escape escape;
    };

    const rans::Kernels* kernels;
    rans::RawArray<uint32_t> entries;  // symbol entries of all passes in coding order
    size_t count = 0, capacity = 0;
    std::vector<size_t> pass_ends;
    std::vector<PlacedEscape> escapes;
    rans::RawArray<uint8_t> stream;
    bool open = true;
};

struct rans_decoder {
    const rans::Kernels* kernels;
    rans::RawArray<uint8_t> stream;
    const uint8_t* next;
    const uint8_t* end;
    unsigned lane_log;    // 1 << lane_log lanes are open now
    uint64_t rows_left;   // for so many rows; 0 if the first lane is alone
    uint64_t group_rows;  // rows of 32 lanes that follow
    uint32_t lanes[rans::kMaxLanes];
    bool open = true;
};

#endif
