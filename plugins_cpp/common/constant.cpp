#include "constant.h"

#include <cinttypes>

#include "check.h"

int glic::check_map(const char* op, glic_shape map, int64_t channels, size_t rank, char* message) {
    Checker check(op, message);
    const int64_t found = map.rank > 0 ? map.dims[map.rank - 1] : 0;
    return check.sides("the map", map)
        .that(map.rank > 0 && found == channels,
              "the map has %zu dimensions and %" PRId64 " channels, expected %" PRId64 " channels last",
              map.rank, found, channels)
        .that(rank == 0 || map.rank == rank,
              "the map has %zu dimensions, expected %zu: %srows, columns and channels", map.rank, rank,
              rank == 4 ? "images, " : "")
        .result();
}

int64_t glic::positions_of(glic_shape map) {
    int64_t positions = 1;
    for (size_t axis = 0; axis + 1 < map.rank; ++axis) positions *= map.dims[axis];
    return positions;
}
