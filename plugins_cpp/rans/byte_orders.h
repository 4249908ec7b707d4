// For each mask of eight lanes, where each lane's byte is to be found, and which lane's byte goes where.
#ifndef RANS_BYTE_ORDERS_H
#define RANS_BYTE_ORDERS_H

#include <cstdint>

namespace rans {
namespace {

struct ByteOrders {
    uint8_t spread[256][8];  // lane j of the mask takes the byte of its rank
    uint8_t packed[256]
                  [8];   // the mask's lanes in order, at the end of the eight bytes; 0x80 (nothing) before
    uint8_t count[256];  // lanes of the mask
};

constexpr ByteOrders make_byte_orders() {
    ByteOrders orders{};
    for (unsigned mask = 0; mask < 256; ++mask) {
        uint8_t rank = 0;
        for (uint8_t lane = 0; lane < 8; ++lane) {
            orders.spread[mask][lane] = rank;
            orders.packed[mask][lane] = 0x80;
            rank = static_cast<uint8_t>(rank + (mask >> lane & 1));
        }
        orders.count[mask] = rank;
        unsigned place = 8u - rank;
        for (uint8_t lane = 0; lane < 8; ++lane)
            if (mask >> lane & 1) orders.packed[mask][place++] = lane;
    }
    return orders;
}

constexpr ByteOrders kByteOrders = make_byte_orders();

}  // namespace
}  // namespace rans

#endif
