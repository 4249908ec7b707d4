#include "../integer.h"

#include <algorithm>
#include <cinttypes>
#include <cstring>
#include <new>
#include <utility>

#include "../../common/check.h"
#include "../../common/isa.h"
#include "../../common/system_memory.h"
#include "../../common/tasks.h"
#include "kernel.h"

namespace glic {
namespace {

constexpr size_t kMostThreads = size_t{1} << 16;

// Positions of a tile: as many as make good use of a panel that is in cache, as few as give every thread
// some.
int64_t tile_size(int64_t positions, const glic_parallel* parallel) {
    const size_t lanes = parallel == nullptr ? 1 : parallel->lanes;
    const int64_t threads = static_cast<int64_t>(std::clamp<size_t>(lanes, 1, kMostThreads));
    const int64_t share = (positions + threads - 1) / threads;
    return std::clamp((share + kTileStep - 1) / kTileStep * kTileStep, kTileStep, kMaxTile);
}

const int32_t* integers(const Constant& constant) { return static_cast<const int32_t*>(constant.values); }

std::vector<int32_t> vector(const Constant& constant) {
    return {integers(constant), integers(constant) + constant.shape.dims[0]};
}

// The values of a vector, once its shape is known to be right.
void check_values(Checker* check, const char* name, const Constant& constant, int64_t low, int64_t high) {
    if (!check->ok() || constant.values == nullptr) return;
    check->values(name, integers(constant), static_cast<size_t>(constant.shape.dims[0]), low, high);
}

// A layer's three constants from the first on: inputs by outputs, and what becomes of the sums.
void check_layer(Checker* check, const char* weight, const char* bias, const char* shift,
                 const Constant* constants, bool halves) {
    const glic_shape shape = constants[0].shape;
    const bool matrix = shape.rank == 2 && shape.dims[0] > 0 && shape.dims[1] > 0;
    check->sides(weight, shape)
        .that(matrix, "%s has %zu dimensions, expected 2, neither of them 0: inputs by outputs", weight,
              shape.rank)
        .that(!halves || (matrix && shape.dims[1] % 2 == 0),
              "%s has an odd number of outputs, expected two halves", weight);
    if (!check->ok()) return;
    check->shape(bias, constants[1].shape, {shape.dims[1]}).shape(shift, constants[2].shape, {shape.dims[1]});
    check_values(check, shift, constants[2], 0, kMostShift);
}

Panels pack_layer(const Constant* constants, bool halves, const Packing& packing) {
    const int64_t* sides = constants[0].shape.dims;
    return {static_cast<const int8_t*>(constants[0].values),
            integers(constants[1]),
            integers(constants[2]),
            sides[0],
            sides[1],
            halves,
            packing};
}

}  // namespace

int check_linear_attributes(int64_t limit, char* message) {
    return Checker("glic::IntegerLinear", message).attribute("limit", limit, 0, kWide).result();
}

int check_linear(const Constant* constants, int64_t limit, char* message) {
    if (check_linear_attributes(limit, message) != GLIC_OK) return GLIC_INVALID;
    Checker check("glic::IntegerLinear", message);
    check_layer(&check, "weight", "bias", "shift", constants, false);
    return check.result();
}

int check_depthwise_attributes(int64_t limit, char* message) {
    return Checker("glic::IntegerDepthwise", message).attribute("limit", limit, 0, kWide).result();
}

int check_depthwise(const Constant* constants, int64_t limit, char* message) {
    if (check_depthwise_attributes(limit, message) != GLIC_OK) return GLIC_INVALID;
    Checker check("glic::IntegerDepthwise", message);
    check_layer(&check, "weight", "bias", "shift", constants, false);
    if (!check.ok()) return check.result();
    return check.shape("weight", constants[0].shape, {kTaps * kTaps, constants[0].shape.dims[1]}).result();
}

int check_gated_ffn_attributes(const GatedFfnAttributes& attributes, char* message) {
    return Checker("glic::IntegerGatedFfn", message)
        .attribute("norm_shift", attributes.norm_shift, 0, kMostShift)
        .attribute("norm_limit", attributes.norm_limit, 0, INT16_MAX)
        .attribute("gate_limit", attributes.gate_limit, 0, INT16_MAX)
        .result();
}

int check_gated_ffn(const Constant* constants, const GatedFfnAttributes& attributes, char* message) {
    const Constant *fraction = constants, *rsqrt = constants + 1, *in = constants + 2, *gelu = constants + 5,
                   *gate_shift = constants + 6, *out = constants + 7;
    if (check_gated_ffn_attributes(attributes, message) != GLIC_OK) return GLIC_INVALID;
    Checker check("glic::IntegerGatedFfn", message);
    check_layer(&check, "project_in weight", "project_in bias", "project_in shift", in, true);
    check_layer(&check, "project_out weight", "project_out bias", "project_out shift", out, false);
    if (!check.ok()) return check.result();
    const int64_t channels = in->shape.dims[0], hidden = in->shape.dims[1] / 2;
    check.shape("project_out weight", out->shape, {hidden, channels})
        .that(channels <= kMostChannels, "the stream has %" PRId64 " channels, expected at most %" PRId64,
              channels, kMostChannels)
        .shape("norm fraction", fraction->shape, {channels})
        .shape("rsqrt", rsqrt->shape, {kRsqrtEntries})
        .shape("gelu", gelu->shape, {kGeluEntries})
        .shape("gate shift", gate_shift->shape, {hidden});
    check_values(&check, "norm fraction", *fraction, 0, kRsqrtBits);
    check_values(&check, "gate shift", *gate_shift, 0, kMostShift);
    return check.result();
}

std::unique_ptr<Linear> make_linear(const Constant* constants, int64_t limit, char* message) {
    if (check_linear(constants, limit, message) != GLIC_OK) return nullptr;
    const IntegerBuild build = GLIC_SELECTED_INTEGER(integer_build);
    return std::make_unique<Linear>(
        Linear{build.linear_task, pack_layer(constants, false, build.packing), static_cast<int32_t>(limit)});
}

std::unique_ptr<Depthwise> make_depthwise(const Constant* constants, int64_t limit, char* message) {
    if (check_depthwise(constants, limit, message) != GLIC_OK) return nullptr;
    const int64_t channels = constants[0].shape.dims[1], taps = constants[0].shape.dims[0];
    const int64_t chunks = (channels + kChannelChunk - 1) / kChannelChunk;
    std::vector<int32_t> weight(static_cast<size_t>(chunks * taps * kChannelChunk));
    const int8_t* from = static_cast<const int8_t*>(constants[0].values);
    for (int64_t tap = 0; tap < taps; ++tap) {
        for (int64_t c = 0; c < channels; ++c) {
            const int64_t at = (c / kChannelChunk * taps + tap) * kChannelChunk + c % kChannelChunk;
            weight[static_cast<size_t>(at)] = from[tap * channels + c];
        }
    }
    std::vector<int32_t> bias = vector(constants[1]), shift = vector(constants[2]);
    bias.resize(static_cast<size_t>(chunks * kChannelChunk));
    shift.resize(bias.size());
    const IntegerBuild build = GLIC_SELECTED_INTEGER(integer_build);
    return std::make_unique<Depthwise>(Depthwise{build.depthwise_task, channels, std::move(weight),
                                                 std::move(bias), std::move(shift),
                                                 static_cast<int32_t>(limit)});
}

std::unique_ptr<PackedGatedFfn> make_gated_ffn(const Constant* constants,
                                               const GatedFfnAttributes& attributes, char* message) {
    if (check_gated_ffn(constants, attributes, message) != GLIC_OK) return nullptr;
    const Constant *fraction = constants, *rsqrt = constants + 1, *in = constants + 2, *gelu = constants + 5,
                   *gate_shift = constants + 6, *out = constants + 7;
    UnitNorm norm{vector(*fraction), vector(*rsqrt), static_cast<int32_t>(attributes.norm_shift),
                  static_cast<int32_t>(attributes.norm_limit)};
    const IntegerBuild build = GLIC_SELECTED_INTEGER(integer_build);
    Panels project_in = pack_layer(in, true, build.packing);
    std::vector<int32_t> shifts = vector(*gate_shift);
    shifts.resize(static_cast<size_t>(project_in.count() * kPanelColumns / 2));
    return std::make_unique<PackedGatedFfn>(PackedGatedFfn{
        build.gated_ffn_task, std::move(norm), std::move(project_in), vector(*gelu), std::move(shifts),
        static_cast<int32_t>(attributes.gate_limit), pack_layer(out, false, build.packing)});
}

void Panels::Free::operator()(void* memory) const { free_aligned(memory); }

Panels::Panels(const int8_t* weight, const int32_t* bias, const int32_t* shift, int64_t inputs,
               int64_t outputs, bool halves, const Packing& packing)
    : packing_(packing), inputs_(inputs), outputs_(outputs) {
    const int64_t part = halves ? kPanelColumns / 2 : kPanelColumns;
    const int64_t columns = halves ? outputs / 2 : outputs;
    const int64_t panels = (columns + part - 1) / part;
    const size_t size = static_cast<size_t>(panels * padded_inputs() * kPanelColumns * packing.weight_size);
    weights_.reset(allocate_aligned(size));
    if (!weights_) throw std::bad_alloc();
    std::memset(weights_.get(), 0, size);
    bias_.assign(static_cast<size_t>(panels * kPanelColumns), 0);
    shift_.assign(bias_.size(), 0);
    for (int64_t packed = 0; packed < panels * kPanelColumns; ++packed) {
        const int64_t panel = packed / kPanelColumns, j = packed % kPanelColumns;
        const int64_t column = panel * part + j % part;
        if (column >= columns) continue;
        const int64_t source = column + j / part * columns;
        const int32_t total = packing.weight_size == 1 ? pack_column<int8_t>(weight + source, panel, j)
                                                       : pack_column<int16_t>(weight + source, panel, j);
        // Unsigned, since sums may wrap around: see plus() in kernel.cpp.
        const uint32_t missing = static_cast<uint32_t>(packing.missing) * static_cast<uint32_t>(total);
        bias_[static_cast<size_t>(packed)] =
            static_cast<int32_t>(static_cast<uint32_t>(bias[source]) + missing);
        shift_[static_cast<size_t>(packed)] = shift[source];
    }
}

template <typename Weight>
int32_t Panels::pack_column(const int8_t* column, int64_t panel, int64_t j) {
    const int64_t group = packing_.group;
    Weight* to = static_cast<Weight*>(weights_.get()) + (panel * padded_inputs() * kPanelColumns + group * j);
    uint32_t total = 0;
    for (int64_t k = 0; k < inputs_; ++k) {
        const int8_t weight = column[k * outputs_];
        to[k / group * group * kPanelColumns + k % group] = weight;
        total += static_cast<uint32_t>(weight);
    }
    return static_cast<int32_t>(total);
}

int integer_linear(const Linear& linear, const float* x, int64_t positions, float* y,
                   const glic_parallel* parallel) {
    const LinearProblem problem{&linear, x, y, positions, tile_size(positions, parallel)};
    const size_t tiles = task_count(positions, problem.tile, {});
    return run_tasks(parallel, tiles, linear_scratch_bytes(linear.panels, problem.tile), linear.task,
                     &problem);
}

int integer_gated_ffn(const PackedGatedFfn& ffn, const float* stream, int64_t positions, float* out,
                      const glic_parallel* parallel) {
    const FfnProblem problem{&ffn, stream, out, positions, tile_size(positions, parallel)};
    const size_t tiles = task_count(positions, problem.tile, {});
    return run_tasks(parallel, tiles, ffn_scratch_bytes(ffn, problem.tile), ffn.task, &problem);
}

int integer_depthwise(const Depthwise& depthwise, const float* x, int64_t height, int64_t width, float* y,
                      const glic_parallel* parallel) {
    const DepthwiseProblem problem{&depthwise, x, y, height, width};
    const int64_t tiles = problem.tile_rows() * problem.tile_columns() * problem.chunks();
    return run_tasks(parallel, static_cast<size_t>(tiles), kDepthwiseScratch, depthwise.task, &problem);
}

}  // namespace glic
