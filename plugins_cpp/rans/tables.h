// CDF tables as coding needs them: a look-up from slots to symbols, and each symbol's start and frequency.
#ifndef RANS_TABLES_H
#define RANS_TABLES_H

#include <cstddef>
#include <cstdint>

namespace rans {

constexpr int kPrecision = 16;
constexpr uint32_t kTotal = 1u << kPrecision;
constexpr size_t kMaxRows = 256;

// Everything that the hot path reads. Plain data and functions of internal linkage: each source file may be
// compiled for another instruction set, and the linker must not let one borrow another's code.
//
// Each row owns a piece of `words`: one hint for each bucket of 1 << shift slots, the last bucket first, then
// one entry for each symbol, the escape last.
//   hint:  low half, the symbol at the bucket's first slot; high half, the last slot that this symbol covers.
//          A slot beyond it belongs to the next symbol, or seldom to a later one.
//   entry: low half, the symbol's first slot; high half, its frequency (1 to 65535).
struct Row {
    uint32_t place;  // where the entries begin (27 bits are enough for 256 rows) << 5 | shift
    uint32_t range;  // low half, the offset (int16); high half, the number of symbols, which is the escape's
};

// The most probable symbol of a row, where it is so probable that whole rows of lanes will hold nothing else.
struct Mode {
    uint32_t entry;  // its symbol entry
    int16_t symbol;  // its value
    bool dominant;   // worth a test of its own
};

struct TableView {
    const uint32_t* words;
    const Row* rows;
    const Mode* modes;
    size_t row_count;
};

static inline bool indexes_fit(const TableView& tables, const uint8_t* indexes, size_t count) {
    uint8_t largest = 0;
    for (size_t i = 0; i < count; ++i) largest = largest < indexes[i] ? indexes[i] : largest;
    return largest < tables.row_count;
}

static inline uint32_t row_shift(Row row) { return row.place & 31; }
static inline uint32_t row_entries(Row row) { return row.place >> 5; }
static inline int32_t row_offset(Row row) { return static_cast<int16_t>(row.range & 0xffff); }
static inline uint32_t row_escape(Row row) { return row.range >> 16; }

static inline uint32_t entry_start(uint32_t entry) { return entry & 0xffff; }
static inline uint32_t entry_frequency(uint32_t entry) { return entry >> 16; }

// Number of a symbol in its row; all beyond the table share the escape's.
static inline uint32_t symbol_number(Row row, int32_t symbol) {
    const uint32_t number = static_cast<uint32_t>(symbol - row_offset(row));
    return number < row_escape(row) ? number : row_escape(row);
}

// The symbol that covers `slot` where the hint was not enough. A bucket has no more symbols than slots.
static inline uint32_t search_symbol(const uint32_t* entries, uint32_t escape, uint32_t shift,
                                     uint32_t symbol, uint32_t slot) {
    uint32_t low = symbol, high = symbol + (1u << shift) < escape ? symbol + (1u << shift) : escape;
    while (low < high) {
        const uint32_t middle = (low + high + 1) / 2;
        if (entry_start(entries[middle]) <= slot)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

// The row's symbol that covers `slot` (0 to 65535).
static inline uint32_t find_symbol(const TableView& tables, Row row, uint32_t slot) {
    const uint32_t* entries = tables.words + row_entries(row);
    const uint32_t hint = *(entries - 1 - (slot >> row_shift(row)));
    const uint32_t symbol = (hint & 0xffff) + (slot > hint >> 16);
    const uint32_t entry = entries[symbol];
    if (slot - entry_start(entry) < entry_frequency(entry)) return symbol;
    return search_symbol(entries, row_escape(row), row_shift(row), symbol, slot);
}

}  // namespace rans

#endif
