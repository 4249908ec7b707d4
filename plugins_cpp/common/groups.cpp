#include "groups.h"

#include "kernel.h"

namespace glic {
namespace {

// Bit j of word i becomes bit i of word j: swaps ever smaller off-diagonal squares.
void transpose_bits(uint64_t words[64]) {
    uint64_t mask = 0x00000000FFFFFFFFu;
    for (int side = 32; side != 0; side >>= 1, mask ^= mask << side) {
        for (int i = 0; i < 64; i = ((i | side) + 1) & ~side) {
            const uint64_t swapped = ((words[i] >> side) ^ words[i | side]) & mask;
            words[i] ^= swapped << side;
            words[i | side] ^= swapped;
        }
    }
}

}  // namespace

int64_t Grid::tasks_per_image() const { return sampling == GLIC_GLOBAL ? groups() / 4 : groups(); }

void find_neighbourhood(const Grid& grid, size_t task, Neighbourhood* out) {
    const int64_t height = grid.height, width = grid.width, columns = width / kWindow;
    const int64_t image = static_cast<int64_t>(task) / grid.tasks_per_image();
    const int64_t index = static_cast<int64_t>(task) % grid.tasks_per_image();
    const int64_t first_node = image * grid.nodes(), first_group = image * grid.groups();

    if (grid.sampling == GLIC_LOCAL) {
        const int64_t top = index / columns * kWindow, left = index % columns * kWindow;
        constexpr int64_t kMargin = (kSample - kWindow) / 2;
        for (int m = 0; m < kCandidates; ++m) {
            const int64_t row = top - kMargin + m / kSample, col = left - kMargin + m % kSample;
            const bool inside = row >= 0 && row < height && col >= 0 && col < width;
            out->candidate[m] = inside ? first_node + row * width + col : kOutside;
        }
        out->group_count = 1;
        out->group[0] = first_group + index;
        for (int n = 0; n < kQueries; ++n) {
            out->query[0][n] = first_node + (top + n / kWindow) * width + left + n % kWindow;
        }
        return;
    }

    const int64_t candidate_height = height / kSample, candidate_width = width / kSample;
    const int64_t row0 = index / candidate_width, col0 = index % candidate_width;
    for (int m = 0; m < kCandidates; ++m) {
        const int64_t row = m / kSample * candidate_height + row0, col = m % kSample * candidate_width + col0;
        out->candidate[m] = first_node + row * width + col;
    }
    out->group_count = 4;
    for (int part = 0; part < 4; ++part) {
        const int64_t i = row0 + part / 2 * candidate_height, j = col0 + part % 2 * candidate_width;
        out->group[part] = first_group + i * columns + j;
        for (int n = 0; n < kQueries; ++n) {
            const int64_t row = n / kWindow * (height / kWindow) + i, col = n % kWindow * columns + j;
            out->query[part][n] = first_node + row * width + col;
        }
    }
}

void edges_by_candidate(const int32_t* rows, uint64_t columns[kCandidates]) {
    for (int block = 0; block < kCandidates / 64; ++block) {
        uint64_t* words = columns + 64 * block;
        for (int n = 0; n < kQueries; ++n) {
            const uint64_t low = static_cast<uint32_t>(rows[n * kWords + 2 * block]);
            const uint64_t high = static_cast<uint32_t>(rows[n * kWords + 2 * block + 1]);
            words[n] = low | high << 32;
        }
        transpose_bits(words);
    }
}

void edges_by_query(const uint64_t columns[kCandidates], int32_t* rows) {
    for (int block = 0; block < kCandidates / 64; ++block) {
        uint64_t words[64];
        for (int m = 0; m < 64; ++m) words[m] = columns[64 * block + m];
        transpose_bits(words);
        for (int n = 0; n < kQueries; ++n) {
            rows[n * kWords + 2 * block] = static_cast<int32_t>(static_cast<uint32_t>(words[n]));
            rows[n * kWords + 2 * block + 1] = static_cast<int32_t>(static_cast<uint32_t>(words[n] >> 32));
        }
    }
}

}  // namespace glic
