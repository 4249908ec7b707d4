// CDF tables in the form that coding needs: each row a look-up from slot to symbol, and each symbol's start
// and frequency.
#ifndef RANS_TABLES_H
#define RANS_TABLES_H

#include <cstddef>
#include <cstdint>

namespace rans {

constexpr int kPrecision = 16;
constexpr uint32_t kTotal = 1u << kPrecision;
constexpr size_t kMaxRows = 256;

// Everything that the hot path reads. Plain data, so that code compiled for other instruction sets may
// include it.
//
// Row r owns a piece of `words` from its base on: first 65536 >> shift look-up entries, one for each bucket
// of slots, then one entry a symbol, the escape last.
//   look-up entry: low half the symbol at the bucket's first slot; high half the last slot at or after the
//   bucket's
//                  first that this symbol covers. A slot beyond it belongs to the next symbol, or seldom a
//                  later one.
//   symbol entry:  low half its first slot, high half its frequency (1 to 65535)
struct Row {
    uint32_t place;  // base << 5 | shift
    uint32_t range;  // offset (int16) in the low half, number of symbols = the escape's slot in the high half
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

inline bool indexes_fit(const TableView& tables, const uint8_t* indexes, size_t count) {
    uint8_t largest = 0;
    for (size_t i = 0; i < count; ++i) largest = largest < indexes[i] ? indexes[i] : largest;
    return largest < tables.row_count;
}

inline uint32_t row_shift(Row row) { return row.place & 31; }
inline uint32_t row_base(Row row) { return row.place >> 5; }
inline uint32_t row_symbols(Row row) { return row_base(row) + (kTotal >> row_shift(row)); }
inline int32_t row_offset(Row row) { return static_cast<int16_t>(row.range & 0xffff); }
inline uint32_t row_escape(Row row) { return row.range >> 16; }

inline uint32_t entry_start(uint32_t entry) { return entry & 0xffff; }
inline uint32_t entry_frequency(uint32_t entry) { return entry >> 16; }

// Slot number of the symbol in its row; all symbols beyond the table share the escape's.
inline uint32_t symbol_slot(Row row, int32_t symbol) {
    const uint32_t slot = static_cast<uint32_t>(symbol - row_offset(row));
    return slot < row_escape(row) ? slot : row_escape(row);
}

// The row's symbol that covers `slot`, given one that starts at or before it.
inline uint32_t find_from(const uint32_t* symbols, uint32_t escape, uint32_t symbol, uint32_t slot) {
    uint32_t low = symbol, high = escape;
    while (low < high) {
        const uint32_t middle = (low + high + 1) / 2;
        if (entry_start(symbols[middle]) <= slot)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

// The row's symbol that covers `slot` (0 to 65535).
inline uint32_t find_symbol(const TableView& tables, Row row, uint32_t slot) {
    const uint32_t hint = tables.words[row_base(row) + (slot >> row_shift(row))];
    const uint32_t symbol = (hint & 0xffff) + (slot > hint >> 16);
    const uint32_t* symbols = tables.words + row_symbols(row);
    const uint32_t entry = symbols[symbol];
    if (slot - entry_start(entry) < entry_frequency(entry)) return symbol;
    return find_from(symbols, row_escape(row), symbol, slot);
}

}  // namespace rans

#endif
