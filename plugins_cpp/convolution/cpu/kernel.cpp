// One task of a convolution: a tile of the results, by products of the filters' rows, or of Winograd's
// patches.
#include "../../common/simd.h"
// The instruction set comes first.
#include <algorithm>

#include "../../common/product.inl"
#include "../../winograd/cpu/patch.inl"
#include "kernel.h"

namespace glic {
namespace GLIC_SIMD {
namespace {

// Where results go: shuffled, if the layer says so, with the channels of a phase side by side.
class Results {
  public:
    explicit Results(const ConvolutionProblem& problem)
        : out_(problem.out),
          columns_(problem.columns),
          shuffle_(problem.layer->attributes.shuffle),
          outputs_(problem.layer->outputs),
          channels_(outputs_ / (shuffle_ * shuffle_)) {}

    // Writes the results of a position for the outputs from `first` on, of which there may be fewer. row: of
    // all images.
    void put(int64_t row, int64_t column, int64_t first, Vec values) const {
        const int64_t left = outputs_ - first;
        if (left <= 0) return;
        if (shuffle_ == 1) {
            float* const to = at(row, column, 0) + first;
            if (left >= kWidth) {
                store(to, values);
            } else {
                store_some(to, values, static_cast<int>(left));
            }
        } else if (channels_ % kWidth == 0) {
            const int64_t phase = first / channels_;
            store(at(row, column, phase) + first - phase * channels_, values);
        } else {
            float lanes[kWidth];
            store(lanes, values);
            for (int64_t lane = 0; lane < std::min<int64_t>(left, kWidth); ++lane) {
                const int64_t phase = (first + lane) / channels_;
                at(row, column, phase)[first + lane - phase * channels_] = lanes[lane];
            }
        }
    }

  private:
    float* at(int64_t row, int64_t column, int64_t phase) const {
        const int64_t y = row * shuffle_ + phase / shuffle_, x = column * shuffle_ + phase % shuffle_;
        return out_ + (y * columns_ * shuffle_ + x) * channels_;
    }

    float* out_;
    int64_t columns_, shuffle_, outputs_, channels_;
};

// The tile of a task: its image, and its rows and columns among the results of that image.
struct Tile {
    Tile(const ConvolutionProblem& problem, int64_t index) {
        const int64_t parts = divided(problem.columns, problem.across);
        const int64_t strips = divided(problem.rows, problem.down);
        image = index / (parts * strips);
        top = index / parts % strips * problem.down;
        left = index % parts * problem.across;
        rows = std::min(problem.rows - top, problem.down);
        columns = std::min(problem.columns - left, problem.across);
    }
    int64_t image, top, left, rows, columns;
};

// Copies `count` positions of a row of x from `column` on, with zeros outside of the map.
void copy_row(const ConvolutionProblem& problem, int64_t image, int64_t row, int64_t column, int64_t count,
              float* to) {
    const int64_t channels = problem.layer->channels;
    const bool inside = row >= 0 && row < problem.height;
    const int64_t first = inside ? std::clamp<int64_t>(-column, 0, count) : count;
    const int64_t last = inside ? std::clamp<int64_t>(problem.width - column, first, count) : count;
    std::fill(to, to + first * channels, 0.0f);
    if (first < last) {
        const float* const from =
            problem.x + ((image * problem.height + row) * problem.width + column + first) * channels;
        std::copy(from, from + (last - first) * channels, to + first * channels);
    }
    std::fill(to + last * channels, to + count * channels, 0.0f);
}

// The results of a tile for the first kUsed vectors of a panel's outputs, from the copied rows of the map, of
// `length` values each. The positions under a row of a filter lie side by side, so that the row is one
// product.
template <int kUsed>
void multiply_tile(const ConvolutionProblem& problem, const Tile& tile, const float* map, int64_t length,
                   int64_t panel) {
    const ConvolutionLayer& layer = *problem.layer;
    const int64_t stride = layer.attributes.stride, step = stride * layer.channels, first = panel * kColumns;
    const Results results(problem);
    for (int64_t row = 0; row < tile.rows; ++row) {
        const int64_t result_row = tile.image * problem.rows + tile.top + row;
        for (int64_t column = 0; column < tile.columns; column += kRows) {
            const int64_t some = std::min<int64_t>(tile.columns - column, kRows);
            Sums sums;
            start(layer.bias.data() + first, sums);
            for (int64_t k = 0; k < layer.kernel; ++k) {
                const float* const at = map + (row * stride + k) * length + column * step;
                multiply<kUsed>(Rows<float>(at, step, some), layer.weights[static_cast<size_t>(k)], panel,
                                sums);
            }
#pragma GCC unroll 8
            for (int r = 0; r < kRows; ++r) {
                if (r >= some) break;
#pragma GCC unroll 8
                for (int v = 0; v < kUsed; ++v) {
                    results.put(result_row, tile.left + column + r, first + v * kWidth, sums[r][v]);
                }
            }
        }
    }
}

void tile_task(const void* argument, size_t index, void* scratch) {
    const ConvolutionProblem& problem = *static_cast<const ConvolutionProblem*>(argument);
    const ConvolutionLayer& layer = *problem.layer;
    const Tile tile(problem, static_cast<int64_t>(index));
    const int64_t stride = layer.attributes.stride, kernel = layer.kernel, before = (kernel - 1) / 2;
    const int64_t under = (tile.columns - 1) * stride + kernel, length = under * layer.channels;
    float* const map = static_cast<float*>(scratch);
    const int64_t map_rows = (tile.rows - 1) * stride + kernel;
    for (int64_t row = 0; row < map_rows; ++row) {
        copy_row(problem, tile.image, tile.top * stride - before + row, tile.left * stride - before, under,
                 map + row * length);
    }
    for (int64_t panel = 0; panel < layer.weights[0].panels(); ++panel) {
        if (layer.outputs - panel * kColumns > kWidth) {
            multiply_tile<kVectors>(problem, tile, map, length, panel);
        } else {
            multiply_tile<1>(problem, tile, map, length, panel);
        }
    }
}

// Winograd's tiles of a task.
template <typename T>
class Patches {
  public:
    Patches(const ConvolutionProblem& problem, int64_t index, void* scratch)
        : problem_(problem),
          layer_(*problem.layer),
          tile_(problem, index),
          across_((tile_.columns + kTile - 1) / kTile),
          count_(across_ * ((tile_.rows + kTile - 1) / kTile)),
          depth_(layer_.weights[0].depth()),
          products_(static_cast<float*>(scratch)),
          patches_(reinterpret_cast<T*>(product(kValues, 0))) {}

    void run() const {
        for (int64_t i = 0; i < count_; ++i) transform(i);
        const ProductWeights& any = layer_.weights[0];
        for (int64_t panel = 0; panel < any.panels(); panel += kPanels) {
            const int64_t last = std::min(panel + kPanels, any.panels());
            for (int p = 0; p < kValues; ++p) multiply_patches(p, panel, last);
            const int64_t first = panel * kColumns;
            const int64_t outputs = std::min(any.outputs() - first, (last - panel) * kColumns);
            for (int64_t i = 0; i < count_; ++i) {
                for (int64_t c = 0; c < outputs; c += kWidth) finish(i, first, c);
            }
        }
    }

  private:
    static constexpr int kValues = kPatch * kPatch;
    static constexpr int64_t kPanels = std::max<int64_t>(1, kWinogradOutputs / kColumns);
    static constexpr int64_t kTogether = kPanels * kColumns;

    int64_t top_of(int64_t i) const { return tile_.top + i / across_ * kTile; }
    int64_t left_of(int64_t i) const { return tile_.left + i % across_ * kTile; }
    T* patch(int p, int64_t i) const { return patches_ + p * (count_ * depth_ + kWinogradGap) + i * depth_; }
    float* product(int p, int64_t i) const {
        return products_ + p * (count_ * kTogether + kWinogradGap) + i * kTogether;
    }

    void transform(int64_t i) const {
        const int64_t channels = layer_.channels, height = problem_.height, width = problem_.width;
        const int64_t top = top_of(i) - 1, left = left_of(i) - 1;
        const float* const x = problem_.x + ((tile_.image * height + top) * width + left) * channels;
        for_vectors(channels, [&](auto whole, int64_t c, int some) {
            Vec d[kValues];
            for (int row = 0; row < kPatch; ++row) {
                for (int column = 0; column < kPatch; ++column) {
                    const bool inside =
                        top + row >= 0 && top + row < height && left + column >= 0 && left + column < width;
                    d[row * kPatch + column] =
                        inside ? load_vector<whole>(x + (row * width + column) * channels + c, some)
                               : set(0.0f);
                }
            }
            to_patch(d);
            for (int p = 0; p < kValues; ++p) store_vector<whole>(patch(p, i) + c, d[p], some);
        });
        for (int p = 0; p < kValues; ++p) std::fill(patch(p, i) + channels, patch(p, i) + depth_, T{});
    }

    void multiply_patches(int p, int64_t first, int64_t last) const {
        for (int64_t panel = first; panel < last; ++panel) {
            for (int64_t i = 0; i < count_; i += kRows) {
                const int64_t some = std::min<int64_t>(count_ - i, kRows);
                Sums sums;
                start(nullptr, sums);
                multiply(Rows<T>(patch(p, i), depth_, some), layer_.weights[static_cast<size_t>(p)], panel,
                         sums);
#pragma GCC unroll 8
                for (int r = 0; r < kRows; ++r) {
                    if (r >= some) break;
                    float* const to = product(p, i + r) + (panel - first) * kColumns;
#pragma GCC unroll 8
                    for (int v = 0; v < kVectors; ++v) store(to + v * kWidth, sums[r][v]);
                }
            }
        }
    }

    // The results of a tile for the outputs from first + c on.
    void finish(int64_t i, int64_t first, int64_t c) const {
        Vec d[kValues];
        for (int p = 0; p < kValues; ++p) d[p] = load(product(p, i) + c);
        from_patch(d);
        const Vec bias = load(layer_.bias.data() + first + c);
        const Results results(problem_);
        const int64_t top = top_of(i), left = left_of(i);
        for (int y = 0; y < kTile && top + y < problem_.rows; ++y) {
            for (int x = 0; x < kTile && left + x < problem_.columns; ++x) {
                results.put(tile_.image * problem_.rows + top + y, left + x, first + c,
                            add(d[y * kPatch + x], bias));
            }
        }
    }

    const ConvolutionProblem& problem_;
    const ConvolutionLayer& layer_;
    Tile tile_;
    int64_t across_, count_, depth_;
    float* products_;
    T* patches_;
};

template <typename T>
void winograd_task(const void* argument, size_t index, void* scratch) {
    const ConvolutionProblem& problem = *static_cast<const ConvolutionProblem*>(argument);
    Patches<T>(problem, static_cast<int64_t>(index), scratch).run();
}

}  // namespace

ConvolutionBuild convolution_build(int32_t element, bool winograd) {
    if (!winograd) return {packing_of<float>(), tile_task};
    if (element == GLIC_BFLOAT16) return {packing_of<Bfloat16>(), winograd_task<Bfloat16>};
    return {packing_of<float>(), winograd_task<float>};
}

}  // namespace GLIC_SIMD
}  // namespace glic
