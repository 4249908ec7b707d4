// One task of a feed-forward block: some positions, or a tile of a map where a depthwise filter needs its
// neighbours.
#include "../../common/simd.h"
// The instruction set comes first.
#include <algorithm>

#include "../../common/depthwise.inl"
#include "../../common/gelu.inl"
#include "../../common/norm.inl"
#include "../../common/product.inl"
#include "kernel.h"

namespace glic {
namespace GLIC_SIMD {
namespace {

// Scratch memory of a task, in elements of type T.
template <typename T>
struct Buffers {
    Buffers(const FeedForwardScratch& parts, void* scratch)
        : normed(static_cast<T*>(scratch)),
          hidden(normed + FeedForwardScratch::round(parts.normed)),
          wide(hidden + FeedForwardScratch::round(parts.hidden)),
          sums(reinterpret_cast<float*>(wide + FeedForwardScratch::round(parts.wide))) {}
    T* normed;
    T* hidden;
    T* wide;
    float* sums;
};

// The residual sum of a position, and its normalised values with zeros up to the expansion's depth.
template <typename T>
void start_position(const FeedForwardProblem& problem, int64_t position, float* sums, T* normed) {
    const FeedForwardBlock& block = *problem.block;
    const int64_t channels = block.expand_a.inputs(), at = position * channels;
    add_update(problem.x + at, problem.update + at, block.update_bias.data(), channels, sums);
    normalise(sums, channels, block.epsilon, normed);
    std::fill(normed + channels, normed + block.expand_a.depth(), T{});
}

// Writes the sums of some rows, as T, `stride` apart.
template <typename T>
inline void store_rows(const Sums& sums, int64_t count, T* out, int64_t stride) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
        if (r >= count) return;
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) store(out + r * stride + v * kWidth, sums[r][v]);
    }
}

// out += hidden × project, for some positions.
template <typename T>
void project(const FeedForwardBlock& block, const T* hidden, int64_t positions, float* out) {
    const int64_t channels = block.project.outputs();
    for_products(hidden, block.expand_a.width(), positions, block.project, nullptr,
                 [&](const Sums& sums, int64_t row, int64_t count, int64_t column) {
                     store_sums<true>(sums, count, column, channels, out + row * channels, channels);
                 });
}

template <typename T>
void positions_task(const void* argument, size_t index, void* scratch) {
    const FeedForwardProblem& problem = *static_cast<const FeedForwardProblem*>(argument);
    const FeedForwardBlock& block = *problem.block;
    const int64_t first = static_cast<int64_t>(index) * kFeedForwardPositions;
    const int64_t positions = std::min(problem.positions - first, kFeedForwardPositions);
    const int64_t depth = block.expand_a.depth(), width = block.expand_a.width();
    const Buffers<T> buffers({block, kFeedForwardPositions, 0}, scratch);
    float* const out = problem.out + first * block.project.outputs();
    for (int64_t i = 0; i < positions; ++i) {
        start_position(problem, first + i, out + i * block.project.outputs(), buffers.normed + i * depth);
    }
    for (int64_t panel = 0; panel < block.expand_a.panels(); ++panel) {
        const int64_t column = panel * kColumns;
        for (int64_t row = 0; row < positions; row += kRows) {
            const Rows<T> rows(buffers.normed + row * depth, depth, positions - row);
            Sums a, b;
            start(block.bias_a.data() + column, a);
            multiply(rows, block.expand_a.template panel<T>(panel), depth, a);
            start(block.bias_b.data() + column, b);
            multiply(rows, block.expand_b.template panel<T>(panel), depth, b);
            for (int r = 0; r < kRows; ++r) {
                for (int v = 0; v < kVectors; ++v) a[r][v] = gate(a[r][v], b[r][v]);
            }
            store_rows(a, positions - row, buffers.hidden + row * width + column, width);
        }
    }
    project(block, buffers.hidden, positions, out);
}

// A tile of a map with the border that the filter reaches, which other tiles compute too. The wide maps of as
// many rows as the filter has are kept, row y in place y mod kernel.
template <typename T>
class Tile {
  public:
    Tile(const FeedForwardProblem& problem, int64_t index, void* scratch)
        : problem_(problem),
          block_(*problem.block),
          reach_(block_.kernel / 2),
          across_((problem.width + problem.columns - 1) / problem.columns),
          down_((problem.height + problem.rows - 1) / problem.rows),
          image_(index / (across_ * down_)),
          top_(index / across_ % down_ * problem.rows),
          bottom_(std::min(top_ + problem.rows, problem.height)),
          left_(index % across_ * problem.columns),
          columns_(std::min(problem.columns, problem.width - left_)),
          channels_(2 * block_.expand_a.width()),
          buffers_({block_, problem.columns, 2 * reach_}, scratch) {}

    void run() {
        for (int64_t row = top_ - reach_; row < bottom_ + reach_; ++row) {
            if (row >= 0 && row < problem_.height) expand(row);
            if (row - reach_ >= top_) finish(row - reach_);
        }
    }

  private:
    // The wide map of a row, zeros outside of the map.
    void expand(int64_t row) {
        const int64_t depth = block_.expand_a.depth(), width = block_.expand_a.width();
        const int64_t first = std::max<int64_t>(left_ - reach_, 0);
        const int64_t last = std::min(left_ + columns_ + reach_, problem_.width);
        const bool own_row = row >= top_ && row < bottom_;
        for (int64_t column = first; column < last; ++column) {
            const int64_t position = position_of(row, column);
            const bool own = own_row && column >= left_ && column < left_ + columns_;
            start_position(problem_, position, own ? out_of(position) : buffers_.sums,
                           buffers_.normed + (column - first) * depth);
        }
        T* const wide = wide_row(row);
        const int64_t before = first - (left_ - reach_), positions = last - first;
        std::fill(wide, wide + before * channels_, T{});
        std::fill(wide + (before + positions) * channels_, wide + (columns_ + 2 * reach_) * channels_, T{});
        const ProductWeights* const halves[] = {&block_.expand_a, &block_.expand_b};
        const float* const biases[] = {block_.bias_a.data(), block_.bias_b.data()};
        for (int half = 0; half < 2; ++half) {
            for_products(buffers_.normed, depth, positions, *halves[half], biases[half],
                         [&](const Sums& sums, int64_t at, int64_t count, int64_t column) {
                             store_rows(sums, count, wide + (before + at) * channels_ + half * width + column,
                                        channels_);
                         });
        }
    }

    // The results of a row, whose wide maps are there.
    void finish(int64_t row) {
        const T* rows[kLargestDepthwiseSide];
        for (int64_t i = 0; i < block_.kernel; ++i) {
            const int64_t from = row + i - reach_;
            rows[i] = from >= 0 && from < problem_.height ? wide_row(from) : nullptr;
        }
        const DepthwiseMap<T> map{nullptr, problem_.height, columns_ + 2 * reach_, channels_, block_.kernel};
        constexpr int kTogether = 4, kSide = 3;
        for (int64_t column = 0; column < columns_;) {
            if (block_.kernel == kSide && column + kTogether <= columns_) {
                convolve_and_gate<kSide, kTogether>(map, rows, column);
                column += kTogether;
            } else {
                convolve_and_gate<0, 1>(map, rows, column);
                ++column;
            }
        }
        project(block_, buffers_.hidden, columns_, out_of(position_of(row, left_)));
    }

    template <int kSide, int kCount>
    void convolve_and_gate(const DepthwiseMap<T>& map, const T* const* rows, int64_t column) {
        const int64_t width = block_.expand_a.width();
        T* const hidden = buffers_.hidden + column * width;
        for (int64_t c = 0; c < width; c += kWidth) {
            Vec halves[2][kCount];
            for (int half = 0; half < 2; ++half) {
                const int64_t channel = c + half * width;
                for (int i = 0; i < kCount; ++i) halves[half][i] = set(0.0f);
                convolve<kSide, kCount, true>(map, rows, column + reach_, channel, block_.filter.data() + channel,
                                              kWidth, [](Vec value) { return value; }, halves[half]);
            }
            for (int i = 0; i < kCount; ++i) store(hidden + i * width + c, gate(halves[0][i], halves[1][i]));
        }
    }

    int64_t position_of(int64_t row, int64_t column) const {
        return (image_ * problem_.height + row) * problem_.width + column;
    }
    float* out_of(int64_t position) const { return problem_.out + position * block_.project.outputs(); }
    T* wide_row(int64_t row) const {
        return buffers_.wide + row % block_.kernel * (problem_.columns + 2 * reach_) * channels_;
    }

    const FeedForwardProblem& problem_;
    const FeedForwardBlock& block_;
    const int64_t reach_, across_, down_, image_, top_, bottom_, left_, columns_, channels_;
    const Buffers<T> buffers_;
};

template <typename T>
void tile_task(const void* argument, size_t index, void* scratch) {
    Tile<T>(*static_cast<const FeedForwardProblem*>(argument), static_cast<int64_t>(index), scratch).run();
}

}  // namespace

FeedForwardBuild feed_forward_build(int32_t element) {
    if (element == GLIC_BFLOAT16) return {packing_of<Bfloat16>(), positions_task<Bfloat16>, tile_task<Bfloat16>};
    return {packing_of<float>(), positions_task<float>, tile_task<float>};
}

}  // namespace GLIC_SIMD
}  // namespace glic
