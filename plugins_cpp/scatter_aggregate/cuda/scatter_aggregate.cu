// ScatterAggregate on a GPU: attention in one kernel, no attention map in memory. A block keeps one head's
// bias and goes through the groups: keys and values of 128 candidates at a time to shared memory, the next on
// their way meanwhile; each of its eight warps takes 16 queries and half of these candidates, with a running
// maximum and sum; the halves are joined at the end and the result goes to the nodes' positions. With global
// sampling, keys and values stay in shared memory for the four groups that have the same candidates.
//
// The bias of GLIC depends on the difference of the positions in window and sample alone, so that a table of
// 23 x 23 values holds it. The block finds out whether it does; any other bias is read through the cache.
//
// Where an edge's weight is so much larger that a non-edge's is zero in float32, tiles of 16 queries by 8
// candidates without an edge are skipped; elsewhere, and for queries without any edge, all candidates count
// as the definition says. Products take the tensors' own elements; norms, logits, softmax and sums are
// float32.
#include <cuda_runtime.h>

#include <cfloat>
#include <cstddef>

#include "../../common/cuda/group.cuh"
#include "../../common/cuda/launch.cuh"
#include "../../common/cuda/warp.cuh"
#include "../scatter_aggregate_cuda.h"
#include "layout.cuh"

namespace glic {
namespace {

constexpr float kNoEdge = -100.0f;
constexpr float kLog2E = 1.44269504f;
constexpr float kInfinity = __builtin_inff();
constexpr int kStepTiles = kStep / 8;

struct Problem {
    int groups, height, width, channels, heads, head_width, sampling;
    bool aligned;
    const void* q;
    const void* kv;
    const int32_t* graph;
    const float* bias;
    const float* scale;
    void* out;
};

// One row of a head to shared memory, chunk by chunk; zeros for a row outside the map.
template <typename T, typename L>
__device__ void stage_chunk(const Problem& problem, unsigned char* rows, int row, int chunk, const T* from,
                            bool inside) {
    constexpr int kElements = kChunk / static_cast<int>(sizeof(T));
    const int left = inside ? problem.head_width - chunk * kElements : 0;
    copy_chunk(rows + row * L::kStride + chunk * kChunk, left > 0 ? from + chunk * kElements : from, left,
               problem.aligned);
}

// Starts copying a head's keys and values of candidates first to first + kHeld.
template <typename T, typename L>
__device__ void stage_candidates(const Problem& problem, const Group& group, int head, int first,
                                 unsigned char* candidates) {
    const T* kv = static_cast<const T*>(problem.kv) + head * problem.head_width;
    for (int i = threadIdx.x; i < L::kHeld * L::kChunks; i += kThreads) {
        const int m = i / L::kChunks, chunk = i % L::kChunks;
        const int node = group.candidate(first + m);
        const bool inside = node != kOutside;
        const T* key = inside ? kv + static_cast<size_t>(node) * 2 * problem.channels : kv;
        stage_chunk<T, L>(problem, candidates, m, chunk, key, inside);
        stage_chunk<T, L>(problem, candidates + L::kValues, m, chunk, key + problem.channels, inside);
    }
}

// Starts copying a head's queries and their edges.
template <typename T, typename L>
__device__ void stage_queries(const Problem& problem, const Group& group, int head, int index,
                              unsigned char* queries) {
    const T* q = static_cast<const T*>(problem.q) + head * problem.head_width;
    for (int i = threadIdx.x; i < kQueries * L::kChunks; i += kThreads) {
        const int n = i / L::kChunks, chunk = i % L::kChunks;
        stage_chunk<T, L>(problem, queries, n, chunk,
                          q + static_cast<size_t>(group.query(n)) * problem.channels, true);
    }
    const float* graph =  // of which only the bits matter
        reinterpret_cast<const float*>(problem.graph) + static_cast<size_t>(index) * kQueries * kWords;
    constexpr int kElements = kChunk / static_cast<int>(sizeof(float));
    for (int i = threadIdx.x; i < kQueries * kWords / kElements; i += kThreads) {
        copy_chunk(queries + L::kMasks + i * kChunk, graph + i * kElements, kElements, problem.aligned);
    }
}

// The place in the table of the bias between query n and the first candidate; that of candidate m is
// m / kSample * kDifferences + m % kSample further.
__device__ __forceinline__ int table_origin(int n) {
    return (kWindow - 1 - n / kWindow) * kDifferences + kWindow - 1 - n % kWindow;
}
__device__ __forceinline__ int table_offset(int m) { return m / kSample * kDifferences + m % kSample; }

struct BiasFacts {
    bool tabular;     // the table in shared memory holds it
    bool negligible;  // non-edges may be skipped
};

// Fills the table and finds out whether it holds the head's bias, and whether non-edges may be skipped: in a
// row with an edge, the best logit of a non-edge is below the worst of an edge by 98 times the scale (100
// less the span of a cosine) less the span of the bias; past 104 its weight is zero in float32. A NaN
// anywhere says no.
template <typename L>
__device__ BiasFacts prepare_bias(const float* bias, float scale, unsigned char* shared) {
    float* table = reinterpret_cast<float*>(shared + L::kTable);
    for (int i = threadIdx.x; i < kDifferences * kDifferences; i += kThreads) {
        const int rows = i / kDifferences - (kWindow - 1), columns = i % kDifferences - (kWindow - 1);
        const int n = (rows < 0 ? -rows : 0) * kWindow + (columns < 0 ? -columns : 0);
        const int m = (rows < 0 ? 0 : rows) * kSample + (columns < 0 ? 0 : columns);
        table[i] = bias[n * kCandidates + m];
    }
    __syncthreads();
    float low = kInfinity, high = -kInfinity;
    int finite = 1, tabular = 1;
    for (int i = threadIdx.x; i < kQueries * kCandidates; i += kThreads) {
        const float value = bias[i];
        tabular &= value == table[table_origin(i / kCandidates) + table_offset(i % kCandidates)];
        low = fminf(low, value);
        high = fmaxf(high, value);
        finite &= fabsf(value) <= FLT_MAX;
    }
#pragma unroll
    for (int distance = kWarp / 2; distance != 0; distance /= 2) {
        low = fminf(low, __shfl_xor_sync(kAllLanes, low, distance));
        high = fmaxf(high, __shfl_xor_sync(kAllLanes, high, distance));
    }
    float* spans = reinterpret_cast<float*>(shared);
    if (threadIdx.x % kWarp == 0) {
        spans[threadIdx.x / kWarp * 2] = low;
        spans[threadIdx.x / kWarp * 2 + 1] = high;
    }
    finite = __syncthreads_and(finite);
    tabular = __syncthreads_and(tabular);
    for (int warp = 0; warp < kThreads / kWarp; ++warp) {
        low = fminf(low, spans[warp * 2]);
        high = fmaxf(high, spans[warp * 2 + 1]);
    }
    __syncthreads();  // before the first keys overwrite the spans
    return {tabular != 0, finite && 98.0f * scale - (high - low) > 104.0f};
}

// What a warp knows of its 16 queries; index 0 is row g of the lane's quad, 1 row g + 8.
template <typename T, typename L>
struct Rows {
    uint32_t queries[L::kChunks][2];
    float inverse_norms[2];
    const uint32_t* masks[2];
    const float* bias[2];  // of the first candidate: in the table, or the row of the bias
    float scale;
    bool tabular;
    bool complete;  // all candidates count

    // The bias of candidates m and m + 1, which are in one row of the sample.
    __device__ __forceinline__ float2 bias_of(int half, int m) const {
        if (!tabular) return *reinterpret_cast<const float2*>(bias[half] + m);
        const float* values = bias[half] + table_offset(m);
        return make_float2(values[0], values[1]);
    }
};

// Running softmax of 16 queries: the maximum in units of log2, sums of weights, weighted sums of values.
template <int kTiles>
struct Sums {
    float highest[2], weight[2];
    float out[kTiles][4];
};

// sum += queries · keys of the 8 candidates from `keys` on.
template <typename T, typename L>
__device__ void multiply_keys(float sum[4], const Rows<T, L>& rows, const unsigned char* keys) {
#pragma unroll
    for (int c = 0; c + 1 < L::kChunks; c += 2) {
        const uint32_t a[4] = {rows.queries[c][0], rows.queries[c][1], rows.queries[c + 1][0],
                               rows.queries[c + 1][1]};
        const uint32_t b[2] = {fragment(keys + c * kChunk, L::kStride),
                               fragment(keys + (c + 1) * kChunk, L::kStride)};
        multiply_step<T>(sum, a, b);
    }
    if constexpr (L::kChunks % 2) {
        constexpr int kLast = L::kChunks - 1;
        multiply_16x8x8(sum, rows.queries[kLast], fragment(keys + kLast * kChunk, L::kStride), T{});
    }
}

// Logits of 16 queries and 64 candidates. `words`: the edges of rows g and g + 8; `any`: of all 16 rows
// together.
template <typename T, typename L>
__device__ void fill_logits(float logits[kStepTiles][4], const Rows<T, L>& rows, const unsigned char* keys,
                            const float* key_norms, const uint32_t words[2][2], const uint32_t any[2],
                            int first) {
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int j = 0; j < kStepTiles; ++j) {
        if (!rows.complete && !(any[j / 4] >> (8 * (j % 4)) & 0xFFu)) {
#pragma unroll
            for (int i = 0; i < 4; ++i) logits[j][i] = -kInfinity;
            continue;
        }
        float sum[4] = {};
        multiply_keys<T, L>(sum, rows, keys + j * 8 * L::kStride);
        const float2 norms = *reinterpret_cast<const float2*>(key_norms + 8 * j + 2 * t);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const uint32_t edges = words[half][j / 4] >> (8 * (j % 4) + 2 * t);
            const float2 bias = rows.bias_of(half, first + 8 * j + 2 * t);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const bool edge = edges >> i & 1u;
                const float b = i ? bias.y : bias.x;
                const float similarity =
                    sum[2 * half + i] * (i ? norms.y : norms.x) * rows.inverse_norms[half];
                // Rounded where the definition rounds: at scale 100 a fused product would be another number.
                logits[j][2 * half + i] =
                    rows.complete
                        ? __fadd_rn(__fmul_rn(__fadd_rn(similarity, edge ? 0.0f : kNoEdge), rows.scale), b)
                    : edge ? fmaf(similarity, rows.scale, b)
                           : -kInfinity;
            }
        }
    }
}

// Logits to weights in place; the sums so far are brought to the new maximum.
template <int kTiles>
__device__ void exponentiate(float logits[kStepTiles][4], Sums<kTiles>& sums) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float highest = logits[0][2 * half];
#pragma unroll
        for (int j = 0; j < kStepTiles; ++j) {
            highest = fmaxf(highest, fmaxf(logits[j][2 * half], logits[j][2 * half + 1]));
        }
        highest = fmaxf(sums.highest[half], quad_max(highest) * kLog2E);
        // Where nothing was seen yet, any finite reference makes all weights zero.
        const float reference = highest == -kInfinity ? 0.0f : highest;
        const float factor = exp2_fast(sums.highest[half] - reference);
        sums.highest[half] = highest;
        float weight = sums.weight[half] * factor;
#pragma unroll
        for (int j = 0; j < kTiles; ++j) {
            sums.out[j][2 * half] *= factor;
            sums.out[j][2 * half + 1] *= factor;
        }
#pragma unroll
        for (int j = 0; j < kStepTiles; ++j) {
#pragma unroll
            for (int i = 2 * half; i < 2 * half + 2; ++i) {
                logits[j][i] = exp2_fast(fmaf(logits[j][i], kLog2E, -reference));
                weight += logits[j][i];
            }
        }
        sums.weight[half] = weight;
    }
}

// out += weights of 16 candidates · their values.
template <typename T, typename L, int kTiles>
__device__ __forceinline__ void add_values(float out[kTiles][4], const float first[4], const float second[4],
                                           const unsigned char* values, T) {
    const uint32_t a[4] = {pack<T>(first[0], first[1]), pack<T>(first[2], first[3]),
                           pack<T>(second[0], second[1]), pack<T>(second[2], second[3])};
    const unsigned char* row = values + threadIdx.x % 16 * L::kStride;
#pragma unroll
    for (int d = 0; d < kTiles; ++d) {
        uint32_t b[2];
        load_transposed(b, row + d * kChunk);
        multiply_step<T>(out[d], a, b);
    }
}

// The order of the 8 candidates of a step is free: weights 2t and 2t + 1, as the lane has them, are columns t
// and t + 4.
template <typename T, typename L, int kTiles>
__device__ __forceinline__ void add_values(float out[kTiles][4], const float first[4], const float second[4],
                                           const unsigned char* values, float) {
    const int g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
        const float* weights = tile ? second : first;
        const uint32_t a[4] = {__float_as_uint(weights[0]), __float_as_uint(weights[2]),
                               __float_as_uint(weights[1]), __float_as_uint(weights[3])};
        const unsigned char* row = values + (8 * tile + 2 * t) * L::kStride + g * 4;
#pragma unroll
        for (int d = 0; d < kTiles; ++d) {
            const unsigned char* element = row + d * 8 * 4;
            const uint32_t b[2] = {*reinterpret_cast<const uint32_t*>(element),
                                   *reinterpret_cast<const uint32_t*>(element + L::kStride)};
            multiply_step<float>(out[d], a, b);
        }
    }
}

// What one warp does with its half of the candidates that are there, of which `first` is the first.
template <typename T, typename L, int kTiles>
__device__ void attend(const Rows<T, L>& rows, const unsigned char* candidates, const float* key_norms,
                       int split, int first, Sums<kTiles>& sums) {
#pragma unroll 1
    for (int m = split * (L::kHeld / kSplits); m < (split + 1) * (L::kHeld / kSplits); m += kStep) {
        uint32_t words[2][2], any[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            words[0][i] = rows.masks[0][(first + m) / 32 + i];
            words[1][i] = rows.masks[1][(first + m) / 32 + i];
            any[i] = __reduce_or_sync(kAllLanes, words[0][i] | words[1][i]);
        }
        if (!rows.complete && !(any[0] | any[1])) continue;
        float weights[kStepTiles][4];
        fill_logits<T, L>(weights, rows, candidates + m * L::kStride, key_norms + m, words, any, first + m);
        exponentiate<kTiles>(weights, sums);
#pragma unroll
        for (int j = 0; j < kStepTiles; j += 2) {
            if (!rows.complete && !(any[j / 4] >> (8 * (j % 4)) & 0xFFFFu)) continue;
            add_values<T, L, kTiles>(sums.out, weights[j], weights[j + 1],
                                     candidates + L::kValues + (m + 8 * j) * L::kStride, T{});
        }
    }
}

// Joins the sums of the second split, which are in shared memory, to those of the first.
template <int kTiles>
__device__ void store_sums(const Sums<kTiles>& sums, float* partial) {
    float* mine = partial + threadIdx.x % (kRowWarps * kWarp);
    constexpr int kNext = kRowWarps * kWarp;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        mine[half * kNext] = sums.highest[half];
        mine[(2 + half) * kNext] = sums.weight[half];
    }
#pragma unroll
    for (int d = 0; d < kTiles; ++d) {
#pragma unroll
        for (int i = 0; i < 4; ++i) mine[(4 + 4 * d + i) * kNext] = sums.out[d][i];
    }
}
template <int kTiles>
__device__ void join_sums(Sums<kTiles>& sums, const float* partial) {
    const float* other = partial + threadIdx.x % (kRowWarps * kWarp);
    constexpr int kNext = kRowWarps * kWarp;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const float theirs = other[half * kNext];
        const float highest = fmaxf(sums.highest[half], theirs);
        const float reference = highest == -kInfinity ? 0.0f : highest;
        const float factor = exp2_fast(sums.highest[half] - reference);
        const float their_factor = exp2_fast(theirs - reference);
        sums.weight[half] = sums.weight[half] * factor + other[(2 + half) * kNext] * their_factor;
#pragma unroll
        for (int d = 0; d < kTiles; ++d) {
#pragma unroll
            for (int i = 2 * half; i < 2 * half + 2; ++i) {
                sums.out[d][i] = sums.out[d][i] * factor + other[(4 + 4 * d + i) * kNext] * their_factor;
            }
        }
    }
}

// Results of rows g and g + 8 to their nodes' positions.
template <typename T, int kTiles>
__device__ void write_result(const Problem& problem, const Group& group, int head, const int query[2],
                             const Sums<kTiles>& sums) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const float factor = 1.0f / sums.weight[half];
        T* out = static_cast<T*>(problem.out) +
                 static_cast<size_t>(group.query(query[half])) * problem.channels + head * problem.head_width;
#pragma unroll
        for (int d = 0; d < kTiles; ++d) {
            const int channel = 8 * d + threadIdx.x % 4 * 2;
            const float first = sums.out[d][2 * half] * factor, second = sums.out[d][2 * half + 1] * factor;
            if (problem.aligned) {
                if (channel >= problem.head_width) continue;
                if constexpr (sizeof(T) == 4) {
                    *reinterpret_cast<float2*>(out + channel) = make_float2(first, second);
                } else {
                    *reinterpret_cast<uint32_t*>(out + channel) = pack<T>(first, second);
                }
            } else {
                if (channel < problem.head_width) out[channel] = from_float<T>(first);
                if (channel + 1 < problem.head_width) out[channel + 1] = from_float<T>(second);
            }
        }
    }
}

// The norms of `count` vectors in shared memory, one a thread.
template <typename T, typename L>
__device__ void fill_norms(const unsigned char* vectors, int count, int thread, float* norms) {
    if (thread < 0 || thread >= count) return;
    norms[thread] = inverse_norm(sum_of_squares<T>(vectors + thread * L::kStride, L::kChunks));
}

// The warp's queries and edges. `negligible`: non-edges may be skipped.
template <typename T, typename L>
__device__ void load_queries(const unsigned char* queries, const float* norms, const int query[2],
                             bool negligible, Rows<T, L>& rows) {
    uint32_t edges[2] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        rows.masks[half] = reinterpret_cast<const uint32_t*>(queries + L::kMasks) + query[half] * kWords;
        rows.inverse_norms[half] = norms[query[half]];
        for (int word = 0; word < kWords; ++word) edges[half] |= rows.masks[half][word];
#pragma unroll
        for (int c = 0; c < L::kChunks; ++c) {
            rows.queries[c][half] = *reinterpret_cast<const uint32_t*>(queries + query[half] * L::kStride +
                                                                       c * kChunk + threadIdx.x % 4 * 4);
        }
    }
    rows.complete = !negligible || __any_sync(kAllLanes, !edges[0] || !edges[1]);
}

template <typename T, int kTiles>
__global__ void __launch_bounds__(kThreads, kTiles <= 3 && sizeof(T) == 2 ? 2 : 1)
    aggregate(const Problem problem) {
    using L = Layout<T, kTiles>;
    constexpr int kParts = kCandidates / L::kHeld;
    unsigned char* shared = shared_memory();
    float* norms = reinterpret_cast<float*>(shared + L::kNorms);
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    const int split = warp / kRowWarps;
    const int query[2] = {16 * (warp % kRowWarps) + lane / 4, 16 * (warp % kRowWarps) + lane / 4 + 8};
    const int head = static_cast<int>(blockIdx.x) % problem.heads;
    const float* bias = problem.bias + static_cast<size_t>(head) * kQueries * kCandidates;

    Rows<T, L> rows;
    rows.scale = problem.scale[head];
    const BiasFacts facts = prepare_bias<L>(bias, rows.scale, shared);
    rows.tabular = facts.tabular;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const float* table = reinterpret_cast<const float*>(shared + L::kTable);
        rows.bias[half] =
            facts.tabular ? table + table_origin(query[half]) : bias + query[half] * kCandidates;
    }

    const int slots = static_cast<int>(gridDim.x) / problem.heads;
    const int slot = static_cast<int>(blockIdx.x) / problem.heads;
    // Where candidates stay, a block visits groups of the same candidates one after another.
    const bool keeps = L::kKeeps && problem.sampling == GLIC_GLOBAL;
    const int visits = (problem.groups + slots - 1) / slots;
    const int first = keeps ? slot * visits : slot, stride = keeps ? 1 : slots;
    const int end = keeps ? min(problem.groups, first + visits) : problem.groups;
    const auto place_of = [&](int step) { return first + step / kParts * stride; };
    const auto group_of = [&](int place) {
        return keeps ? group_by_candidates(problem.height, problem.width, place) : place;
    };
    const auto are_new = [&](int place) { return !keeps || place == first || place % kSharing == 0; };
    const auto candidates_of = [&](int step) { return shared + step % L::kStages * L::kCandidateBytes; };
    const auto queries_of = [&](int step) {
        return shared + L::kQueryRows + step / kParts % L::kStages * L::kQueryBytes;
    };
    // Starts the copies of a step: a part of the candidates of a group, unless they are there, and with the
    // first part the queries.
    const auto stage = [&](int step) {
        const int place = place_of(step), part = step % kParts;
        if (place < end && (part == 0 || are_new(place))) {
            const int index = group_of(place);
            const Group group(problem.height, problem.width, problem.sampling, index);
            if (part == 0) stage_queries<T, L>(problem, group, head, index, queries_of(step));
            if (are_new(place)) {
                stage_candidates<T, L>(problem, group, head, part * L::kHeld, candidates_of(step));
            }
        }
        copy_async_commit();
    };
    Sums<kTiles> sums;
    if (first < end) stage(0);
#pragma unroll 1
    for (int step = 0;; ++step) {
        const int place = place_of(step), part = step % kParts;
        if (place >= end) break;
        if constexpr (L::kStages > 1) stage(step + 1);
        unsigned char* candidates = candidates_of(step);
        float* key_norms = norms + kQueries + part * L::kHeld;
        if (part == 0 || are_new(place)) {
            copy_async_wait<L::kStages - 1>();
            __syncthreads();
            const int thread = static_cast<int>(threadIdx.x);
            if (are_new(place)) fill_norms<T, L>(candidates, L::kHeld, thread, key_norms);
            if (part == 0) fill_norms<T, L>(queries_of(step), kQueries, thread - L::kHeld, norms);
            __syncthreads();
        }
        if (part == 0) {
            load_queries<T, L>(queries_of(step), norms, query, facts.negligible, rows);
            sums = {{-kInfinity, -kInfinity}, {0.0f, 0.0f}, {}};
        }
        attend<T, L, kTiles>(rows, candidates, key_norms, split, part * L::kHeld, sums);
        __syncthreads();  // before anything overwrites the candidates
        if (part == kParts - 1) {
            float* partial = reinterpret_cast<float*>(L::kKeeps ? shared + L::kPartial : candidates);
            sums.weight[0] = quad_sum(sums.weight[0]);
            sums.weight[1] = quad_sum(sums.weight[1]);
            if (split == 1) store_sums<kTiles>(sums, partial);
            __syncthreads();
            if (split == 0) {
                join_sums<kTiles>(sums, partial);
                const Group group(problem.height, problem.width, problem.sampling, group_of(place));
                write_result<T, kTiles>(problem, group, head, query, sums);
            }
            if constexpr (!L::kKeeps) __syncthreads();  // before the next keys overwrite the partial sums
        }
        if constexpr (L::kStages == 1) stage(step + 1);
    }
    copy_async_wait<0>();
}

template <typename T, int kTiles>
cudaError_t launch(Problem problem, cudaStream_t stream) {
    constexpr int kBytes = Layout<T, kTiles>::kBytes;
    const auto kernel = aggregate<T, kTiles>;
    static BlocksAtOnce blocks_at_once;
    int blocks = 0;
    const cudaError_t result = blocks_at_once.get(kernel, kThreads, kBytes, &blocks);
    if (result != cudaSuccess) return result;
    // As many blocks a head as run at a time, or fewer where all then have the same number of groups.
    const int most = blocks / problem.heads;
    const int rounds = (problem.groups + (most > 0 ? most : 1) - 1) / (most > 0 ? most : 1);
    const int slots = (problem.groups + rounds - 1) / rounds;
    return launch_kernel(kernel, static_cast<unsigned>(slots * problem.heads), kThreads, kBytes, stream,
                         problem);
}

template <typename T>
cudaError_t launch(Problem problem, cudaStream_t stream) {
    constexpr int64_t kSize = sizeof(T);
    problem.aligned = is_aligned(problem.q, problem.head_width * kSize) &&
                      is_aligned(problem.kv, problem.head_width * kSize) &&
                      is_aligned(problem.out, problem.head_width * kSize) &&
                      is_aligned(problem.graph, kWords * sizeof(int32_t));
    if (problem.head_width <= 8) return launch<T, 1>(problem, stream);
    if (problem.head_width <= 24) return launch<T, 3>(problem, stream);
    if (problem.head_width <= GLIC_CUDA_MAX_HEAD_WIDTH) return launch<T, 8>(problem, stream);
    return cudaErrorInvalidValue;
}

}  // namespace
}  // namespace glic

int glic_scatter_aggregate_cuda(const glic_scatter_aggregate_size* size, int32_t element, const void* q,
                                const void* kv, const int32_t* graph, const float* bias, const float* scale,
                                void* out, void* stream) {
    if (!glic::fits_int(size->images, size->height, size->width)) return cudaErrorInvalidValue;
    const int64_t groups = size->images * (size->height / glic::kWindow) * (size->width / glic::kWindow);
    const glic::Problem problem{static_cast<int>(groups),
                                static_cast<int>(size->height),
                                static_cast<int>(size->width),
                                static_cast<int>(size->channels),
                                static_cast<int>(size->heads),
                                static_cast<int>(size->channels / size->heads),
                                size->sampling,
                                false,
                                q,
                                kv,
                                graph,
                                bias,
                                scale,
                                out};
    const auto cuda_stream = static_cast<cudaStream_t>(stream);
    switch (element) {
        case GLIC_FLOAT32:
            return glic::launch<float>(problem, cuda_stream);
        case GLIC_FLOAT16:
            return glic::launch<glic::float16>(problem, cuda_stream);
        case GLIC_BFLOAT16:
            return glic::launch<glic::bfloat16>(problem, cuda_stream);
        default:
            return cudaErrorInvalidValue;
    }
}
