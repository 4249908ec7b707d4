// The integer kernels. multiply_<isa>.h defines, for the instruction set that this is compiled for:
//   Weight, kPacking: how the panels hold weights;
//   kRows: rows of a block, which is multiplied at a time;
//   place(group, row, values): writes the kPacking.group values of a row into a block's group of columns,
//     which has as many int16 of memory for each row;
//   multiply(a, panel, groups, sums): sums[kRows][32] of a block of rows with a panel.
#include "kernel.h"

#include <algorithm>
#include <cstring>

#include "../../common/target.h"

#include GLIC_TARGET_HEADER(multiply)

namespace glic {
namespace GLIC_SIMD {
namespace {

using std::int16_t;
using std::int32_t;
using std::int64_t;

constexpr int64_t kGroup = kPacking.group;

// Rows of int16 for `multiply`: blocks of kRows rows, in a block group after group of columns.
class Blocks {
  public:
    Blocks(int16_t* memory, const Panels& weights) : memory_(memory), columns_(weights.padded_inputs()) {}
    int16_t* block(int64_t first_row) const { return memory_ + first_row * columns_; }

    // Writes columns [first, first + count) of a row; first is a multiple of kGroup.
    void write(int64_t row, int64_t first, int64_t count, const int16_t* values) const {
        int16_t* to = block(row / kRows * kRows) + first * kRows;
        int64_t i = 0;
        for (; i + kGroup <= count; i += kGroup) place(to + i * kRows, row % kRows, values + i);
        if (i < count) {
            int16_t last[kGroup] = {};
            std::copy(values + i, values + count, last);
            place(to + i * kRows, row % kRows, last);
        }
    }

    // Zeroes the rows that fill up the last block.
    void pad(int64_t count) const {
        const int16_t zeros[kGroup] = {};
        for (int64_t row = count; row % kRows != 0; ++row) {
            for (int64_t k = 0; k < columns_; k += kGroup) write(row, k, kGroup, zeros);
        }
    }

  private:
    int16_t* memory_;
    int64_t columns_;
};

// One row's sums with a panel: with the bias, rounded and clamped.
inline void finish(const int32_t* sums, const int32_t* bias, const int32_t* shift, int32_t limit,
                   int32_t* result) {
    for (int64_t j = 0; j < kPanelColumns; ++j) {
        result[j] = finished(sums[j], bias[j], shift[j], limit);
    }
}

// All sums of a tile, panel by panel: each(panel, row, rounded sums).
template <typename Each>
inline void product(const Blocks& rows, int64_t count, const Panels& weights, int32_t limit, Each each) {
    alignas(64) int32_t sums[kRows * kPanelColumns];
    alignas(64) int32_t rounded[kPanelColumns];
    for (int64_t panel = 0; panel < weights.count(); ++panel) {
        for (int64_t first = 0; first < count; first += kRows) {
            multiply(rows.block(first), weights.weights<Weight>(panel), weights.groups(), sums);
            const int64_t last = std::min<int64_t>(first + kRows, count);
            for (int64_t row = first; row < last; ++row) {
                finish(sums + (row - first) * kPanelColumns, weights.bias(panel), weights.shift(panel), limit,
                       rounded);
                each(panel, row, rounded);
            }
        }
    }
}

// One position's deviations from its mean over their Euclidean length. deviations: room for all channels.
void unit_norm(const UnitNorm& norm, const float* stream, int64_t row, int32_t* deviations,
               const Blocks& to) {
    const int32_t channels = static_cast<int32_t>(norm.fraction.size());
    int32_t total = 0;
    for (int32_t c = 0; c < channels; ++c) {
        deviations[c] = norm_input(stream[c], norm.input_shift);
        total += deviations[c];
    }
    const int32_t narrowing = norm_narrowing(channels);
    int64_t squares = 0;
    for (int32_t c = 0; c < channels; ++c) {
        const int32_t d = deviation(deviations[c], total, channels, narrowing);
        deviations[c] = d;
        squares += d * d;
    }
    const Reciprocal root = reciprocal_root(squares, norm.rsqrt.data());
    constexpr int32_t kChunk = 64;
    int16_t units[kChunk];
    for (int32_t first = 0; first < channels; first += kChunk) {
        const int32_t count = std::min(kChunk, channels - first);
        const int32_t* fraction = norm.fraction.data() + first;
        for (int32_t c = 0; c < count; ++c) {
            units[c] = static_cast<int16_t>(unit(deviations[first + c], root, fraction[c], norm.limit));
        }
        to.write(row, first, count, units);
    }
}

// Sums of 16 channels, which wrap around, for as many positions beside each other as stay in registers.
using Lanes = uint32_t __attribute__((vector_size(64)));
constexpr int64_t kLanes = 16, kRun = 4;
static_assert(kTileColumns % kRun == 0 && kChannelChunk % kLanes == 0);

void linear_task(const void* argument, size_t index, void* scratch) {
    const LinearProblem& problem = *static_cast<const LinearProblem*>(argument);
    const Panels& linear = problem.linear->panels;
    const int64_t first = static_cast<int64_t>(index) * problem.tile;
    const int64_t count = std::min(problem.tile, problem.positions - first);
    const int64_t inputs = linear.inputs(), outputs = linear.outputs();
    const Blocks rows(static_cast<int16_t*>(scratch), linear);
    for (int64_t row = 0; row < count; ++row) {
        constexpr int64_t kChunk = 64;
        int16_t narrow[kChunk];
        const float* x = problem.x + (first + row) * inputs;
        for (int64_t k = 0; k < inputs; k += kChunk) {
            const int64_t size = std::min(kChunk, inputs - k);
            for (int64_t i = 0; i < size; ++i)
                narrow[i] = static_cast<int16_t>(integer_of(x[k + i], kProductInput));
            rows.write(row, k, size, narrow);
        }
    }
    rows.pad(count);
    product(rows, count, linear, problem.linear->limit,
            [&](int64_t panel, int64_t row, const int32_t* rounded) {
                const int64_t column = panel * kPanelColumns;
                float* y = problem.y + (first + row) * outputs + column;
                const int64_t size = std::min(kPanelColumns, outputs - column);
                for (int64_t j = 0; j < size; ++j) y[j] = static_cast<float>(rounded[j]);
            });
}

void gated_ffn_task(const void* argument, size_t index, void* scratch) {
    const FfnProblem& problem = *static_cast<const FfnProblem*>(argument);
    const PackedGatedFfn& ffn = *problem.ffn;
    const int64_t first = static_cast<int64_t>(index) * problem.tile;
    const int64_t count = std::min(problem.tile, problem.positions - first);
    const int64_t channels = ffn.project_in.inputs();
    int32_t* deviations = static_cast<int32_t*>(scratch);
    int16_t* memory = reinterpret_cast<int16_t*>(deviations + (channels + 15) / 16 * 16);
    const Blocks normalised(memory, ffn.project_in);
    const Blocks gated(normalised.block(problem.tile), ffn.project_out);
    const float* stream = problem.stream + first * channels;
    for (int64_t row = 0; row < count; ++row) {
        unit_norm(ffn.norm, stream + row * channels, row, deviations, normalised);
    }
    normalised.pad(count);
    gated.pad(count);
    const int64_t hidden = ffn.project_out.inputs();
    product(normalised, count, ffn.project_in, kGateInput,
            [&](int64_t panel, int64_t row, const int32_t* halves) {
                constexpr int64_t kHalf = kPanelColumns / 2;
                int16_t gate[kHalf];
                const int32_t* shift = ffn.gate_shift.data() + panel * kHalf;
                for (int64_t j = 0; j < kHalf; ++j) {
                    gate[j] = static_cast<int16_t>(
                        glic::gated(halves[j], halves[kHalf + j], ffn.gelu.data(), shift[j], ffn.gate_limit));
                }
                gated.write(row, panel * kHalf, std::min(kHalf, hidden - panel * kHalf), gate);
            });
    float* out = problem.out + first * channels;
    product(gated, count, ffn.project_out, kWide, [&](int64_t panel, int64_t row, const int32_t* rounded) {
        const int64_t column = panel * kPanelColumns;
        const int64_t at = row * channels + column;
        const int64_t size = std::min(kPanelColumns, channels - column);
        for (int64_t j = 0; j < size; ++j) {
            out[at + j] = static_cast<float>(clamp(integer_of(stream[at + j], kWide) + rounded[j], kWide));
        }
    });
}

void depthwise_task(const void* argument, size_t index, void* scratch) {
    const DepthwiseProblem& problem = *static_cast<const DepthwiseProblem*>(argument);
    const Depthwise& depthwise = *problem.depthwise;
    const int64_t tile = static_cast<int64_t>(index) / problem.chunks();
    const int64_t first = static_cast<int64_t>(index) % problem.chunks() * kChannelChunk;
    const int64_t row = tile / problem.tile_columns() * kTileRows;
    const int64_t column = tile % problem.tile_columns() * kTileColumns;
    const int64_t rows = std::min(kTileRows, problem.height - row);
    const int64_t columns = std::min(kTileColumns, problem.width - column);
    const int64_t count = std::min(kChannelChunk, depthwise.channels - first);
    constexpr int64_t kMargin = kTaps / 2, kWindowColumns = kTileColumns + kTaps - 1;
    int32_t* window = static_cast<int32_t*>(scratch);
    for (int64_t i = 0; i < rows + kTaps - 1; ++i) {
        for (int64_t j = 0; j < (columns + kRun - 1) / kRun * kRun + kTaps - 1; ++j) {
            const int64_t from_row = row + i - kMargin, from_column = column + j - kMargin;
            int32_t* to = window + (i * kWindowColumns + j) * kChannelChunk;
            std::memset(to, 0, kChannelChunk * sizeof(int32_t));
            if (from_row < 0 || from_row >= problem.height || from_column < 0 || from_column >= problem.width)
                continue;
            const float* x =
                problem.x + (from_row * problem.width + from_column) * depthwise.channels + first;
            for (int64_t c = 0; c < count; ++c) to[c] = integer_of(x[c], kProductInput);
        }
    }
    const int32_t* weights = depthwise.weight.data() + first * kTaps * kTaps;
    const int32_t *bias = depthwise.bias.data() + first, *shift = depthwise.shift.data() + first;
    for (int64_t c = 0; c < count; c += kLanes) {
        for (int64_t i = 0; i < rows; ++i) {
            for (int64_t j = 0; j < columns; j += kRun) {
                Lanes sums[kRun] = {};
                for (int64_t tap_row = 0; tap_row < kTaps; ++tap_row) {
                    const int32_t* values = window + ((i + tap_row) * kWindowColumns + j) * kChannelChunk + c;
                    const int32_t* weight = weights + tap_row * kTaps * kChannelChunk + c;
#pragma GCC unroll 5
                    for (int64_t tap = 0; tap < kTaps; ++tap) {
                        Lanes factor, value;
                        std::memcpy(&factor, weight + tap * kChannelChunk, sizeof factor);
#pragma GCC unroll 4
                        for (int64_t u = 0; u < kRun; ++u) {
                            std::memcpy(&value, values + (tap + u) * kChannelChunk, sizeof value);
                            sums[u] += factor * value;
                        }
                    }
                }
                const int64_t at = ((row + i) * problem.width + column + j) * depthwise.channels + first + c;
                for (int64_t u = 0; u < std::min(kRun, columns - j); ++u) {
                    int32_t sum[kLanes];
                    float results[kLanes];
                    std::memcpy(sum, &sums[u], sizeof sum);
                    for (int64_t k = 0; k < kLanes; ++k) {
                        results[k] =
                            static_cast<float>(finished(sum[k], bias[c + k], shift[c + k], depthwise.limit));
                    }
                    const int64_t stored = std::min(kLanes, count - c);
                    std::memcpy(problem.y + at + u * depthwise.channels, results, sizeof(float) * stored);
                }
            }
        }
    }
}
}  // namespace

const IntegerBuild integer_build = {kPacking, linear_task, gated_ffn_task, depthwise_task};

}  // namespace GLIC_SIMD
}  // namespace glic
