// Which nodes are the queries and candidates of each group (specification section 3).
#ifndef GLIC_COMMON_GROUPS_H
#define GLIC_COMMON_GROUPS_H

#include <cstddef>
#include <cstdint>

namespace glic {

constexpr int kQueries = 64;
constexpr int kCandidates = 256;
constexpr int kWords = kCandidates / 32;
constexpr int kWindow = 8;
constexpr int kSample = 16;
constexpr int64_t kOutside = -1;

struct Grid {
    int64_t images, height, width;
    int32_t sampling;

    int64_t nodes() const { return height * width; }
    int64_t groups() const { return (height / kWindow) * (width / kWindow); }
    // Groups that share their candidates form one task: four in global sampling, else one.
    int64_t tasks_per_image() const;
};

// The candidates of one task and the groups that select among them. Nodes count through all images,
// row-major; kOutside stands for a local candidate outside the map.
struct Neighbourhood {
    int group_count;
    int64_t candidate[kCandidates];
    int64_t group[4];
    int64_t query[4][kQueries];
};

void find_neighbourhood(const Grid& grid, size_t task, Neighbourhood* out);

// 64 rows of 256 bits, as the graph holds them, to 256 columns of 64 bits, and back.
void edges_by_candidate(const int32_t* rows, uint64_t columns[kCandidates]);
void edges_by_query(const uint64_t columns[kCandidates], int32_t* rows);

}  // namespace glic

#endif
