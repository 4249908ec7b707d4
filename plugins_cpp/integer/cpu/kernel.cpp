// The integer kernels. multiply_<isa>.h defines, for the instruction set that this is compiled for:
//   Weight, kPacking: how the panels hold weights;
//   kRows: rows of a block, which is multiplied at a time;
//   place(group, row, values): writes the kPacking.group values of a row into a block's group of columns,
//     which has as many int16 of memory for each row;
//   multiply(a, panel, groups, sums): sums[kRows][32] of a block of rows with a panel.
#include "kernel.h"

#include <algorithm>

#include "../../common/target.h"

#include GLIC_TARGET_HEADER(multiply)

namespace glic {
namespace GLIC_SIMD {
namespace {

using std::int16_t;
using std::int32_t;
using std::int64_t;

// Sums and products that wrap around. The exporter proves that its networks stay within 32 bits; others get
// wrong numbers, the same on every instruction set.
inline int32_t plus(int32_t a, int32_t b) {
    return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b));
}
inline int32_t times(int32_t a, int32_t b) {
    return static_cast<int32_t>(static_cast<uint32_t>(a) * static_cast<uint32_t>(b));
}

// x / 2^shift, halves to even; shift 0 to 30.
inline int32_t round_shift(int32_t x, int32_t shift) {
    const int32_t some = shift > 0;
    const int32_t below_half = (1 << shift >> 1) - some;
    return plus(plus(x, below_half), (x >> shift) & some) >> shift;
}

// The integer that a map holds; what is none in ±limit, not a number included, becomes the nearest or -limit.
inline int32_t integer_of(float x, float limit) {
    x = x > -limit ? x : -limit;
    return static_cast<int32_t>(x < limit ? x : limit);
}

inline int32_t clamp(int32_t x, int32_t limit) { return std::min(std::max(x, -limit), limit); }

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
        result[j] = clamp(round_shift(plus(sums[j], bias[j]), shift[j]), limit);
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
        deviations[c] = clamp(round_shift(integer_of(stream[c], kWide), norm.input_shift), kNormInput);
        total += deviations[c];
    }
    int32_t narrowing = 0;
    while (1 << narrowing < channels) ++narrowing;
    int64_t squares = 0;
    for (int32_t c = 0; c < channels; ++c) {
        const int32_t d = clamp(round_shift(channels * deviations[c] - total, narrowing), kNormDeviation);
        deviations[c] = d;
        squares += d * d;
    }
    squares = std::max<int64_t>(squares, 1);
    int32_t exponent = 0;
    while (squares >> (2 * exponent + 2)) ++exponent;
    const int32_t reciprocal = norm.rsqrt[static_cast<size_t>((squares << 10 >> 2 * exponent) - 1024)];
    constexpr int32_t kChunk = 64;
    int16_t unit[kChunk];
    for (int32_t first = 0; first < channels; first += kChunk) {
        const int32_t count = std::min(kChunk, channels - first);
        const int32_t* fraction = norm.fraction.data() + first;
        for (int32_t c = 0; c < count; ++c) {
            const int32_t shift = kRsqrtBits + exponent - fraction[c];
            unit[c] = static_cast<int16_t>(
                clamp(round_shift(times(deviations[first + c], reciprocal), shift), norm.limit));
        }
        to.write(row, first, count, unit);
    }
}

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
                narrow[i] = static_cast<int16_t>(integer_of(x[k + i], INT16_MAX));
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
    const GatedFfn& ffn = *problem.ffn;
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
    const int32_t* gelu = ffn.gelu.data() + 2048;
    product(normalised, count, ffn.project_in, kGateInput,
            [&](int64_t panel, int64_t row, const int32_t* halves) {
                constexpr int64_t kHalf = kPanelColumns / 2;
                int16_t gate[kHalf];
                const int32_t* shift = ffn.gate_shift.data() + panel * kHalf;
                for (int64_t j = 0; j < kHalf; ++j) {
                    const int32_t value = round_shift(times(gelu[halves[j]], halves[kHalf + j]), shift[j]);
                    gate[j] = static_cast<int16_t>(clamp(value, ffn.gate_limit));
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

}  // namespace

const IntegerBuild integer_build = {kPacking, linear_task, gated_ffn_task};

}  // namespace GLIC_SIMD
}  // namespace glic
