// Which nodes are the queries and candidates of a group, as the kernels compute it (specification section 3).
#ifndef GLIC_COMMON_CUDA_GROUP_CUH
#define GLIC_COMMON_CUDA_GROUP_CUH

#include <cuda_runtime.h>

#include "../groups.h"
#include "../kernel.h"

namespace glic {

// Nodes count through all images, row-major.
class Group {
  public:
    __device__ Group(int height, int width, int sampling, int index) : height_(height), width_(width) {
        const int rows = height / kWindow, columns = width / kWindow;
        const int within = index % (rows * columns);
        const int i = within / columns, j = within % columns;
        first_ = index / (rows * columns) * height * width;
        if (sampling == GLIC_LOCAL) {
            constexpr int kMargin = (kSample - kWindow) / 2;
            query_ = {i * kWindow, j * kWindow, 1, 1};
            candidate_ = {i * kWindow - kMargin, j * kWindow - kMargin, 1, 1};
        } else {
            query_ = {i, j, rows, columns};
            candidate_ = {i % (rows / 2), j % (columns / 2), rows / 2, columns / 2};
        }
    }

    __device__ int query(int n) const { return node(query_, n / kWindow, n % kWindow); }

    // kOutside where the candidate lies outside the map.
    __device__ int candidate(int m) const {
        const int row = candidate_.row + m / kSample * candidate_.row_step;
        const int column = candidate_.column + m % kSample * candidate_.column_step;
        const bool inside = row >= 0 && row < height_ && column >= 0 && column < width_;
        return inside ? first_ + row * width_ + column : static_cast<int>(kOutside);
    }

    // Every query is among the candidates: its number there.
    __device__ int query_as_candidate(int n) const {
        const int row = (query_.row - candidate_.row + n / kWindow * query_.row_step) / candidate_.row_step;
        const int column =
            (query_.column - candidate_.column + n % kWindow * query_.column_step) / candidate_.column_step;
        return row * kSample + column;
    }

  private:
    struct Lattice {
        int row, column, row_step, column_step;
    };
    __device__ int node(const Lattice& lattice, int i, int j) const {
        return first_ + (lattice.row + i * lattice.row_step) * width_ + lattice.column +
               j * lattice.column_step;
    }

    int height_, width_, first_;
    Lattice query_, candidate_;
};

// With global sampling, kSharing groups of an image have the same candidates.
constexpr int kSharing = 4;

// Group `place` in the order in which the groups of the same candidates follow each other: places kSharing ·
// i to kSharing · i + kSharing - 1.
__device__ inline int group_by_candidates(int height, int width, int place) {
    const int rows = height / kWindow, columns = width / kWindow;
    const int within = place % (rows * columns);
    const int set = within / kSharing, member = within % kSharing;
    const int i = set / (columns / 2) + member / 2 * (rows / 2);
    const int j = set % (columns / 2) + member % 2 * (columns / 2);
    return place - within + i * columns + j;
}

}  // namespace glic

#endif
