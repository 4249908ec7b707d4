// One task of a feed-forward block: some positions, or a tile of a map where a depthwise filter needs their
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

// Scratch memory of a task.
template <typename T>
struct Buffers {
    Buffers(const FeedForwardScratch& parts, void* scratch)
        : rows(static_cast<T*>(scratch)),
          hidden(rows + parts.rows),
          wide(hidden + parts.hidden),
          mixed(wide + parts.wide),
          sums(reinterpret_cast<float*>(mixed + parts.mixed)) {}
    T* rows;
    T* hidden;
    T* wide;
    T* mixed;
    float* sums;
};

// The normalised values of a position, with zeros up to the depth of the expansion.
template <typename T>
void normalise_position(const FeedForwardBlock& block, const float* sums, T* normed) {
    const int64_t channels = block.expand_a.inputs();
    normalise(sums, channels, block.epsilon, normed);
    std::fill(normed + channels, normed + block.expand_a.depth(), T{});
}

// The residual sum of a position of the inputs.
void add_position(const FeedForwardProblem& problem, int64_t position, float* sums) {
    const int64_t channels = problem.block->expand_a.inputs(), at = position * channels;
    add_update(problem.x + at, problem.update + at, problem.block->update_bias.data(), channels, sums);
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

// The feed-forward without a filter, of up to kFeedForwardPositions sums at `out`, which become the results.
template <typename T>
void feed_positions(const FeedForwardBlock& block, int64_t positions, const Buffers<T>& buffers, float* out) {
    const int64_t depth = block.expand_a.depth(), width = block.expand_a.width();
    for (int64_t i = 0; i < positions; ++i) {
        normalise_position(block, out + i * block.project.outputs(), buffers.rows + i * depth);
    }
    for (int64_t panel = 0; panel < block.expand_a.panels(); ++panel) {
        const int64_t column = panel * kColumns;
        for (int64_t row = 0; row < positions; row += kRows) {
            const Rows<T> rows(buffers.rows + row * depth, depth, positions - row);
            Sums a, b;
            start(block.bias_a.data() + column, a);
            multiply(rows, block.expand_a, panel, a);
            start(block.bias_b.data() + column, b);
            multiply(rows, block.expand_b, panel, b);
            for (int r = 0; r < kRows; ++r) {
                for (int v = 0; v < kVectors; ++v) a[r][v] = gate(a[r][v], b[r][v]);
            }
            store_rows(a, positions - row, buffers.hidden + row * width + column, width);
        }
    }
    project(block, buffers.hidden, positions, out);
}

template <typename T>
void positions_task(const void* argument, size_t index, void* scratch) {
    const FeedForwardProblem& problem = *static_cast<const FeedForwardProblem*>(argument);
    const FeedForwardBlock& block = *problem.block;
    const int64_t first = static_cast<int64_t>(index) * kFeedForwardPositions;
    const int64_t positions = std::min(problem.positions - first, kFeedForwardPositions);
    const int64_t channels = block.project.outputs();
    float* const out = problem.out + first * channels;
    for (int64_t i = 0; i < positions; ++i) add_position(problem, first + i, out + i * channels);
    feed_positions(block, positions, Buffers<T>({block, 0}, scratch), out);
}

// A tile of a map, with the border that a filter of side `kernel` reaches, which other tiles compute too. The
// wide maps, of `channels` channels, are kept for as many rows as the filter has: row y in place y mod
// kernel.
template <typename T>
class Tile {
  public:
    Tile(const FeedForwardProblem& problem, int64_t kernel, int64_t channels, int64_t index, void* scratch)
        : problem_(problem),
          block_(*problem.block),
          kernel_(kernel),
          reach_(kernel / 2),
          across_((problem.width + problem.columns - 1) / problem.columns),
          down_((problem.height + problem.rows - 1) / problem.rows),
          image_(index / (across_ * down_)),
          top_(index / across_ % down_ * problem.rows),
          bottom_(std::min(top_ + problem.rows, problem.height)),
          left_(index % across_ * problem.columns),
          columns_(std::min(problem.columns, problem.width - left_)),
          first_(std::max<int64_t>(left_ - reach_, 0)),
          last_(std::min(left_ + columns_ + reach_, problem.width)),
          channels_(channels),
          buffers_({block_, problem.columns}, scratch) {}

    // Calls expand(row) for the rows that the filter reaches, and finish(row) for a row whose wide maps are
    // there.
    template <typename Derived>
    static void run(Derived tile) {
        for (int64_t row = tile.top_ - tile.reach_; row < tile.bottom_ + tile.reach_; ++row) {
            if (row >= 0 && row < tile.problem_.height) tile.expand(row);
            if (row - tile.reach_ >= tile.top_) tile.finish(row - tile.reach_);
        }
    }

  protected:
    // The place of the wide map of a row at column first_; around it zeros where the border is outside of the
    // map.
    T* begin_wide_row(int64_t row) const {
        T* const wide = wide_row(row);
        const int64_t before = first_ - (left_ - reach_), inside = last_ - first_;
        std::fill(wide, wide + before * channels_, T{});
        std::fill(wide + (before + inside) * channels_, wide + (columns_ + 2 * reach_) * channels_, T{});
        return wide + before * channels_;
    }

    // Calls body(Int<side or 0>, Int<columns>, map, rows, column) for all columns of the tile, kTogether of
    // them at a time with a filter of side kSide.
    template <int kSide, int kTogether, typename Body>
    void for_columns(int64_t row, Body body) const {
        const T* rows[kLargestDepthwiseSide];
        for (int64_t i = 0; i < kernel_; ++i) {
            const int64_t from = row + i - reach_;
            rows[i] = from >= 0 && from < problem_.height ? wide_row(from) : nullptr;
        }
        const DepthwiseMap<T> map{nullptr, problem_.height, columns_ + 2 * reach_, channels_, kernel_};
        for (int64_t column = 0; column < columns_;) {
            if (kernel_ == kSide && column + kTogether <= columns_) {
                body(Int<kSide>(), Int<kTogether>(), map, rows, column);
                column += kTogether;
            } else {
                body(Int<0>(), Int<1>(), map, rows, column);
                ++column;
            }
        }
    }

    int64_t position_of(int64_t row, int64_t column) const {
        return (image_ * problem_.height + row) * problem_.width + column;
    }
    float* out_of(int64_t position) const { return problem_.out + position * block_.project.outputs(); }
    T* wide_row(int64_t row) const {
        return buffers_.wide + row % kernel_ * (problem_.columns + 2 * reach_) * channels_;
    }

    const FeedForwardProblem& problem_;
    const FeedForwardBlock& block_;
    const int64_t kernel_, reach_, across_, down_, image_, top_, bottom_, left_, columns_;
    // The columns that the filter reaches inside the map.
    const int64_t first_, last_;
    const int64_t channels_;
    const Buffers<T> buffers_;
};

// The feed-forward whose gate is convolved.
template <typename T>
class GateTile : public Tile<T> {
  public:
    GateTile(const FeedForwardProblem& problem, int64_t index, void* scratch)
        : Tile<T>(problem, problem.block->kernel, 2 * problem.block->expand_a.width(), index, scratch) {}

    void expand(int64_t row) const {
        const FeedForwardBlock& block = this->block_;
        const int64_t depth = block.expand_a.depth(), width = block.expand_a.width(),
                      channels = this->channels_;
        T* const rows = this->buffers_.rows;
        const bool own_row = row >= this->top_ && row < this->bottom_;
        for (int64_t column = this->first_; column < this->last_; ++column) {
            const int64_t position = this->position_of(row, column);
            const bool own = own_row && column >= this->left_ && column < this->left_ + this->columns_;
            float* const sums = own ? this->out_of(position) : this->buffers_.sums;
            add_position(this->problem_, position, sums);
            normalise_position(block, sums, rows + (column - this->first_) * depth);
        }
        T* const wide = this->begin_wide_row(row);
        const ProductWeights* const halves[] = {&block.expand_a, &block.expand_b};
        const float* const biases[] = {block.bias_a.data(), block.bias_b.data()};
        for (int half = 0; half < 2; ++half) {
            for_products(rows, depth, this->last_ - this->first_, *halves[half], biases[half],
                         [&](const Sums& sums, int64_t at, int64_t count, int64_t column) {
                             store_rows(sums, count, wide + at * channels + half * width + column, channels);
                         });
        }
    }

    void finish(int64_t row) const {
        const FeedForwardBlock& block = this->block_;
        const int64_t width = block.expand_a.width();
        this->template for_columns<3, 4>(row, [&](auto side, auto count, const DepthwiseMap<T>& map,
                                                  const T* const* rows, int64_t column) {
            T* const hidden = this->buffers_.hidden + column * width;
            for (int64_t c = 0; c < width; c += kWidth) {
                Vec halves[2][count()];
                for (int half = 0; half < 2; ++half) {
                    const int64_t channel = c + half * width;
                    for (int i = 0; i < count; ++i) halves[half][i] = set(0.0f);
                    convolve<side, count, true>(
                        map, rows, column + this->reach_, channel, block.filter.data() + channel, kWidth,
                        [](Vec value) { return value; }, halves[half]);
                }
                for (int i = 0; i < count; ++i)
                    store(hidden + i * width + c, gate(halves[0][i], halves[1][i]));
            }
        });
        project(block, this->buffers_.hidden, this->columns_,
                this->out_of(this->position_of(row, this->left_)));
    }
};

// A depthwise mixer, and the feed-forward of its results row by row.
template <typename T>
class MixerTile : public Tile<T> {
  public:
    MixerTile(const FeedForwardProblem& problem, int64_t index, void* scratch)
        : Tile<T>(problem, problem.block->mixer->kernel, problem.block->mixer->expand.width(), index,
                  scratch),
          mixer_(*problem.block->mixer) {}

    void expand(int64_t row) const {
        const int64_t inputs = mixer_.expand.inputs(), depth = mixer_.expand.depth(),
                      channels = this->channels_;
        const int64_t positions = this->last_ - this->first_;
        const float* const x = this->problem_.x + this->position_of(row, this->first_) * inputs;
        const T* const rows = rows_of(x, inputs, positions, depth, this->buffers_.rows);
        T* const wide = this->begin_wide_row(row);
        for_products(rows, depth, positions, mixer_.expand, mixer_.expand_bias.data(),
                     [&](Sums& sums, int64_t at, int64_t count, int64_t column) {
                         for (auto& of_row : sums) {
                             for (Vec& value : of_row) value = max(value, mul(value, set(kSlope)));
                         }
                         store_rows(sums, count, wide + at * channels + column, channels);
                     });
    }

    void finish(int64_t row) const {
        const FeedForwardBlock& block = this->block_;
        const int64_t width = this->channels_, channels = block.project.outputs();
        constexpr int kTogether = kAccumulators >= 16 ? 8 : 4;
        this->template for_columns<5, kTogether>(row, [&](auto side, auto count, const DepthwiseMap<T>& map,
                                                          const T* const* rows, int64_t column) {
            T* const mixed = this->buffers_.mixed + column * width;
            for (int64_t c = 0; c < width; c += kWidth) {
                Vec sums[count()];
                for (int i = 0; i < count; ++i) sums[i] = load(mixer_.filter_bias.data() + c);
                convolve<side, count, true>(
                    map, rows, column + this->reach_, c, mixer_.filter.data() + c, kWidth,
                    [](Vec value) { return value; }, sums);
                for (int i = 0; i < count; ++i) store(mixed + i * width + c, sums[i]);
            }
        });
        const int64_t position = this->position_of(row, this->left_);
        const float* const x = this->problem_.x + position * channels;
        float* const out = this->out_of(position);
        std::copy(x, x + this->columns_ * channels, out);
        for_products(this->buffers_.mixed, width, this->columns_, mixer_.project, block.update_bias.data(),
                     [&](const Sums& sums, int64_t at, int64_t count, int64_t column) {
                         store_sums<true>(sums, count, column, channels, out + at * channels, channels);
                     });
        for (int64_t column = 0; column < this->columns_; column += kFeedForwardPositions) {
            feed_positions(block, std::min(this->columns_ - column, kFeedForwardPositions), this->buffers_,
                           out + column * channels);
        }
    }

  private:
    static constexpr float kSlope = 0.01f;

    const Mixer& mixer_;
};

template <typename T, template <typename> class AnyTile>
void tile_task(const void* argument, size_t index, void* scratch) {
    const FeedForwardProblem& problem = *static_cast<const FeedForwardProblem*>(argument);
    Tile<T>::run(AnyTile<T>(problem, static_cast<int64_t>(index), scratch));
}

template <typename T>
FeedForwardBuild build() {
    return {packing_of<T>(), positions_task<T>, tile_task<T, GateTile>, tile_task<T, MixerTile>};
}

}  // namespace

FeedForwardBuild feed_forward_build(int32_t element) {
    return element == GLIC_BFLOAT16 ? build<Bfloat16>() : build<float>();
}

}  // namespace GLIC_SIMD
}  // namespace glic
