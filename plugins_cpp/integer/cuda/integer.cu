// The integer ops on a GPU. A linear layer is one launch, a gated feed-forward three: the norm, the products
// with the gate, the products with the residual. Between them the workspace holds rows of int16.
#include <cuda_runtime.h>

#include <cstddef>
#include <initializer_list>

#include "../integer_cuda.h"
#include "product.cuh"

namespace glic {
namespace {

constexpr int kPositionThreads = 128;  // of the kernels without products
constexpr int kRun = 4;  // positions beside each other that a thread of the depthwise kernel computes

// The results of the lane's column 2t of a column tile, and of the one after it.
struct Outputs {
    int first, bias[2], shift[2];

    template <bool kHalves>
    __device__ __forceinline__ Outputs(const Weights<kHalves>& layer, int tile, int column) {
        first = layer.output(tile, column + threadIdx.x % 4 * 2);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            // Units, not columns, lie beside each other.
            const int output = layer.output(tile, column + threadIdx.x % 4 * 2 + i);
            const bool inside = output < layer.outputs;
            bias[i] = inside ? layer.layer.bias[output] : 0;
            shift[i] = inside ? layer.layer.shift[output] & 31 : 0;
        }
    }
};

// Calls store(row, index of the row's first sum, row tile) for each of the lane's rows inside the map.
template <typename Store>
__device__ __forceinline__ void each_row(int first_row, int rows, Store store) {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = first_row + m * 16 + half * 8;
            if (row < rows) store(row, m, 2 * half);
        }
    }
}

// The sums as integers held in float32, or the stream plus the sums.
template <bool kAdds>
struct ToMap {
    static constexpr bool kHalves = false;
    const float* stream;
    float* y;
    int rows, limit;

    __device__ __forceinline__ void operator()(const Sums& sums, const Weights<false>& layer, int tile,
                                               int column, int first_row) const {
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
            const Outputs outputs(layer, tile, column + n * 8);
            each_row(first_row, rows, [&](int row, int m, int index) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    if (outputs.first + i >= layer.outputs) continue;
                    const size_t at = static_cast<size_t>(row) * layer.outputs + outputs.first + i;
                    int32_t value = finished(sums.whole(m, n, index + i), outputs.bias[i], outputs.shift[i],
                                             kAdds ? kWide : limit);
                    if (kAdds) value = clamp(integer_of(stream[at], kWide) + value, kWide);
                    y[at] = static_cast<float>(value);
                }
            });
        }
    }
};

// GELU of the first half's sums times those of the second, as int16 of the workspace; zeros up to whole
// stages.
struct ToGate {
    static constexpr bool kHalves = true;
    int16_t* rows_of_gates;
    const int32_t* gelu;
    const int32_t* shift;
    int rows, limit;

    __device__ __forceinline__ void operator()(const Sums& sums, const Weights<true>& layer, int tile,
                                               int column, int first_row) const {
        constexpr int kHalf = kColumnTiles / 2;
#pragma unroll
        for (int n = 0; n < kHalf; ++n) {
            const Outputs a(layer, tile, column + n * 8), b(layer, tile, column + (n + kHalf) * 8);
            // The unit's number also where it is one of the padding.
            const int unit = tile * layer.kUnits + column / 2 + n * 8 + threadIdx.x % 4 * 2;
            int32_t gate_shift[2];
#pragma unroll
            for (int i = 0; i < 2; ++i) gate_shift[i] = unit + i < layer.units() ? shift[unit + i] & 31 : 0;
            each_row(first_row, rows, [&](int row, int m, int index) {
                uint32_t pair = 0;
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const int32_t argument =
                        finished(sums.whole(m, n, index + i), a.bias[i], a.shift[i], kGateInput);
                    const int32_t factor =
                        finished(sums.whole(m, n + kHalf, index + i), b.bias[i], b.shift[i], kGateInput);
                    const int32_t gate = gated(argument, factor, gelu, gate_shift[i], limit);
                    pair |= (static_cast<uint32_t>(gate) & 0xFFFFu) << 16 * i;
                }
                const size_t at = static_cast<size_t>(row) * padded_inputs(layer.units()) + unit;
                *reinterpret_cast<uint32_t*>(rows_of_gates + at) = pair;
            });
        }
    }
};

template <typename V>
__device__ __forceinline__ V warp_sum(V value) {
#pragma unroll
    for (int distance = kWarp / 2; distance != 0; distance /= 2) {
        value += __shfl_xor_sync(kAllLanes, value, distance);
    }
    return value;
}

struct Norm {
    const float* stream;
    const int32_t* fraction;
    const int32_t* rsqrt;
    int16_t* units;
    int rows, channels, narrowing, shift, limit;
};

// A warp computes one position's deviations from its mean over their Euclidean length.
__global__ void __launch_bounds__(kPositionThreads) normalise(const Norm norm) {
    const int row = static_cast<int>(blockIdx.x) * (kPositionThreads / kWarp) + threadIdx.x / kWarp;
    const int lane = threadIdx.x % kWarp;
    if (row >= norm.rows) return;
    const float* stream = norm.stream + static_cast<size_t>(row) * norm.channels;
    int32_t total = 0;
    for (int c = lane; c < norm.channels; c += kWarp) total += norm_input(stream[c], norm.shift);
    total = warp_sum(total);
    const auto deviation_of = [&](int c) {
        return deviation(norm_input(stream[c], norm.shift), total, norm.channels, norm.narrowing);
    };
    int64_t squares = 0;
    for (int c = lane; c < norm.channels; c += kWarp) {
        const int32_t d = deviation_of(c);
        squares += d * d;
    }
    const Reciprocal root = reciprocal_root(warp_sum(squares), norm.rsqrt);
    const int padded = static_cast<int>(padded_inputs(norm.channels));
    int16_t* units = norm.units + static_cast<size_t>(row) * padded;
    for (int c = lane; c < padded; c += kWarp) {
        int32_t value = 0;
        if (c < norm.channels) value = unit(deviation_of(c), root, norm.fraction[c] & 15, norm.limit);
        units[c] = static_cast<int16_t>(value);
    }
}

struct Depthwise {
    const float* x;
    glic_integer_layer layer;
    float* y;
    int height, width, channels, limit;
};

// A thread computes kRun positions beside each other of one channel.
__global__ void __launch_bounds__(kPositionThreads) convolve(const Depthwise map) {
    const int runs = (map.width + kRun - 1) / kRun;
    const int index = static_cast<int>(blockIdx.x) * kPositionThreads + threadIdx.x;
    const int channel = index % map.channels, run = index / map.channels % runs,
              row = index / map.channels / runs;
    if (row >= map.height) return;
    constexpr int kMargin = kTaps / 2;
    int32_t sums[kRun] = {};
#pragma unroll 1
    for (int tap_row = 0; tap_row < kTaps; ++tap_row) {
        const int from_row = row + tap_row - kMargin;
        if (from_row < 0 || from_row >= map.height) continue;
        int32_t values[kRun + kTaps - 1], weights[kTaps];
#pragma unroll
        for (int i = 0; i < kRun + kTaps - 1; ++i) {
            const int column = run * kRun + i - kMargin;
            const bool inside = column >= 0 && column < map.width;
            const size_t at = (static_cast<size_t>(from_row) * map.width + column) * map.channels + channel;
            values[i] = inside ? integer_of(map.x[at], kProductInput) : 0;
        }
#pragma unroll
        for (int tap = 0; tap < kTaps; ++tap) {
            weights[tap] =
                map.layer.weight[(tap_row * kTaps + tap) * static_cast<size_t>(map.channels) + channel];
        }
#pragma unroll
        for (int i = 0; i < kRun; ++i) {
#pragma unroll
            for (int tap = 0; tap < kTaps; ++tap)
                sums[i] = plus(sums[i], times(values[i + tap], weights[tap]));
        }
    }
    const int32_t bias = map.layer.bias[channel], shift = map.layer.shift[channel] & 31;
#pragma unroll
    for (int i = 0; i < kRun; ++i) {
        const int column = run * kRun + i;
        if (column >= map.width) continue;
        map.y[(static_cast<size_t>(row) * map.width + column) * map.channels + channel] =
            static_cast<float>(finished(sums[i], bias, shift, map.limit));
    }
}

// The kernels count values of a map in 32 bits.
bool fits(std::initializer_list<int64_t> sides) {
    int64_t values = 1;
    for (const int64_t side : sides) {
        if (side < 0 || (side != 0 && values >= (INT64_C(1) << 31) / side)) return false;
        values *= side;
    }
    return true;
}

// Whether rows of this many elements of this size may be loaded in words of four.
template <typename T>
bool in_quads(const T* rows, int64_t count) {
    return reinterpret_cast<uintptr_t>(rows) % (4 * sizeof(T)) == 0 && count % 4 == 0;
}

template <bool kHalves>
Weights<kHalves> weights_of(const glic_integer_layer& layer, int64_t inputs, int64_t outputs) {
    const bool aligned = in_quads(layer.weight, outputs) && (!kHalves || outputs / 2 % 4 == 0);
    return {layer, static_cast<int>(inputs), static_cast<int>(outputs), aligned};
}

unsigned blocks_of(int64_t items, int64_t each) { return static_cast<unsigned>((items + each - 1) / each); }

}  // namespace
}  // namespace glic

int glic_integer_linear_cuda(const glic_integer_linear_size* size, const float* x, glic_integer_layer layer,
                             float* y, void* stream) {
    using namespace glic;
    const auto [positions, inputs, outputs, limit] = *size;
    if (!fits({positions, padded_inputs(inputs)}) || !fits({positions, outputs}) ||
        !fits({inputs, outputs})) {
        return cudaErrorInvalidValue;
    }
    const int rows = static_cast<int>(positions);
    const FloatRows from{x, rows, static_cast<int>(inputs), in_quads(x, inputs)};
    return launch_product(from, weights_of<false>(layer, inputs, outputs),
                          ToMap<false>{nullptr, y, rows, limit}, outputs, static_cast<cudaStream_t>(stream));
}

size_t glic_integer_gated_ffn_workspace(const glic_integer_gated_ffn_size* size) {
    const int64_t row = glic::padded_inputs(size->channels) + glic::padded_inputs(size->hidden);
    return static_cast<size_t>(size->positions * row) * sizeof(int16_t);
}

int glic_integer_gated_ffn_cuda(const glic_integer_gated_ffn_size* size, const float* x,
                                const glic_integer_gated_ffn_constants* constants, float* out,
                                void* workspace, void* stream) {
    using namespace glic;
    const int64_t channels = size->channels, hidden = size->hidden;
    if (!fits({size->positions, padded_inputs(channels)}) ||
        !fits({size->positions, padded_inputs(hidden)}) || !fits({channels, 2 * hidden}) ||
        channels > kMostChannels) {
        return cudaErrorInvalidValue;
    }
    if (size->positions == 0) return cudaSuccess;
    const auto cuda_stream = static_cast<cudaStream_t>(stream);
    const int rows = static_cast<int>(size->positions), c = static_cast<int>(channels),
              h = static_cast<int>(hidden);
    int16_t* units = static_cast<int16_t*>(workspace);
    int16_t* gates = units + size->positions * padded_inputs(channels);
    const Norm norm{x, constants->norm_fraction, constants->rsqrt, units,           rows,
                    c, norm_narrowing(c),        size->norm_shift, size->norm_limit};
    cudaError_t result = launch_kernel(normalise, blocks_of(rows, kPositionThreads / kWarp), kPositionThreads,
                                       0, cuda_stream, norm);
    if (result != cudaSuccess) return result;
    const ToGate to_gate{gates, constants->gelu, constants->gate_shift, rows, size->gate_limit};
    result = launch_product(ShortRows{units, rows, c},
                            weights_of<true>(constants->project_in, channels, 2 * hidden), to_gate,
                            padded_inputs(hidden), cuda_stream);
    if (result != cudaSuccess) return result;
    return launch_product(ShortRows{gates, rows, h},
                          weights_of<false>(constants->project_out, hidden, channels),
                          ToMap<true>{x, out, rows, kWide}, channels, cuda_stream);
}

int glic_integer_depthwise_cuda(const glic_integer_depthwise_size* size, const float* x,
                                glic_integer_layer layer, float* y, void* stream) {
    using namespace glic;
    const int64_t runs = (size->width + kRun - 1) / kRun;
    if (!fits({size->height, runs * kRun, size->channels})) return cudaErrorInvalidValue;
    const int64_t threads = size->height * runs * size->channels;
    if (threads == 0) return cudaSuccess;
    const Depthwise map{x,
                        layer,
                        y,
                        static_cast<int>(size->height),
                        static_cast<int>(size->width),
                        static_cast<int>(size->channels),
                        size->limit};
    return launch_kernel(convolve, blocks_of(threads, kPositionThreads), kPositionThreads, 0,
                         static_cast<cudaStream_t>(stream), map);
}
