// One task of ScatterAggregate: gather the keys and values of its candidates once, then attend from each of
// its groups, head by head, in tiles of two vectors of queries. Lanes are queries throughout:
// keys and values are broadcast as they lie, every reduction over candidates is vertical, and a candidate
// that none of a tile's queries has an edge to is skipped.
#include "../../common/simd.h"
// The instruction set comes first.
#include "../../common/kernel.h"
#include "../../common/rows.inl"
#include "kernel.h"

namespace glic {
namespace GLIC_SIMD {

constexpr float kNoEdge = -100.0f;
constexpr float kLog2E = 1.44269504f;

// A list of candidates with room for a whole last block.
struct Candidates {
    int count;
    uint8_t index[kCandidates + kPadding];
};

// Those to which one of a tile's queries has an edge, and whether each query has one.
static bool find_connected(const uint64_t edges[kCandidates], int tile, Candidates* out) {
    constexpr uint64_t kAll = kTile == 64 ? ~uint64_t{0} : (uint64_t{1} << kTile % 64) - 1;
    uint64_t connected = 0;
    int count = 0;
    for (int m = 0; m < kCandidates; ++m) {
        const uint64_t bits = edges[m] >> (tile * kTile) & kAll;
        out->index[count] = static_cast<uint8_t>(m);
        count += bits != 0;
        connected |= bits;
    }
    // What follows in a last block is computed in vain, its weights never used.
    for (int i = 0; i < kPadding; ++i) out->index[count + i] = 0;
    out->count = count;
    return connected == kAll;
}

// One head of one tile.
struct Attention {
    const float* keys;    // 256 × width, unit length
    const float* values;  // 256 × width
    float* columns;       // width × kTile: queries of unit length, replaced by their results
    const float* bias;    // 256 × 32, from the tile's first query
    const uint64_t* edges;
    int first_query;
    int64_t width;
    float scale;
};

// Similarities of a block of candidates to both vectors of queries. kHeadWidth is the head's width where it
// is known when compiling, else 0.
template <int kHeadWidth>
static inline void similarities(const Attention& head, const uint8_t* candidates, Vec first[kBlock],
                                Vec second[kBlock]) {
    const int64_t width = kHeadWidth ? kHeadWidth : head.width;
    const float* keys[kBlock];
    for (int r = 0; r < kBlock; ++r) {
        keys[r] = head.keys + candidates[r] * width;
        first[r] = second[r] = set(0.0f);
    }
#pragma GCC unroll 24
    for (int64_t d = 0; d < width; ++d) {
        const Vec query0 = load(head.columns + d * kTile), query1 = load(head.columns + d * kTile + kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < kBlock; ++r) {
            const Vec key = set(keys[r][d]);
            first[r] = fma(key, query0, first[r]);
            second[r] = fma(key, query1, second[r]);
        }
    }
}

// kComplete: a non-edge is penalised as the definition says, and rounded where the definition rounds: at
// scale 100 a fused product would be another number. Otherwise its logit is -infinity.
template <bool kComplete>
static inline Vec logit_of(Vec similarity, uint32_t edge_bits, Vec scale, Vec bias) {
    const Lanes edge = lanes_of(edge_bits);
    if (kComplete) return add(mul(add(similarity, select(edge, set(0.0f), set(kNoEdge))), scale), bias);
    return select(edge, fma(similarity, scale, bias), set(-INFINITY));
}

// logits[i·kTile + query] of the candidates, rounded up to whole blocks; their maximum per query in highest.
template <int kHeadWidth, bool kComplete>
static void fill_logits(const Attention& head, const Candidates& candidates, float* logits, Vec highest[2]) {
    const Vec scale = set(head.scale);
    highest[0] = highest[1] = set(-INFINITY);
    for (int i = 0; i < candidates.count; i += kBlock) {
        Vec first[kBlock], second[kBlock];
        similarities<kHeadWidth>(head, candidates.index + i, first, second);
#pragma GCC unroll 8
        for (int r = 0; r < kBlock; ++r) {
            const int m = candidates.index[i + r];
            const uint64_t bits = head.edges[m] >> head.first_query;
            const float* bias = head.bias + m * kBiasQueries;
            float* out = logits + (i + r) * kTile;
            const Vec logit0 = logit_of<kComplete>(first[r], static_cast<uint32_t>(bits), scale, load(bias));
            const Vec logit1 = logit_of<kComplete>(second[r], static_cast<uint32_t>(bits >> kWidth), scale,
                                                   load(bias + kWidth));
            highest[0] = max(highest[0], logit0);
            highest[1] = max(highest[1], logit1);
            store(out, logit0);
            store(out + kWidth, logit1);
        }
    }
}

// Logits to weights, in place; their sum per query in total.
static inline void exponentiate(float* logits, int count, const Vec highest[2], Vec total[2]) {
    total[0] = total[1] = set(0.0f);
    for (int i = 0; i < count; ++i) {
        for (int vector = 0; vector < 2; ++vector) {
            float* logit = logits + i * kTile + vector * kWidth;
            const Vec weight = exp2_negative(mul(sub(load(logit), highest[vector]), set(kLog2E)));
            total[vector] = add(total[vector], weight);
            store(logit, weight);
        }
    }
}

// kChannels channels of the weighted sum of values, times `factor`.
template <int kChannels>
static void weighted_sum(const float* weights, const Candidates& candidates, const float* values,
                         int64_t width, const Vec factor[2], float* columns) {
    Vec first[kChannels], second[kChannels];
#pragma GCC unroll 12
    for (int d = 0; d < kChannels; ++d) first[d] = second[d] = set(0.0f);
    for (int i = 0; i < candidates.count; ++i) {
        const Vec weight0 = load(weights + i * kTile), weight1 = load(weights + i * kTile + kWidth);
        const float* row = values + candidates.index[i] * width;
#pragma GCC unroll 12
        for (int d = 0; d < kChannels; ++d) {
            const Vec value = set(row[d]);
            first[d] = fma(value, weight0, first[d]);
            second[d] = fma(value, weight1, second[d]);
        }
    }
#pragma GCC unroll 12
    for (int d = 0; d < kChannels; ++d) {
        store(columns + d * kTile, mul(first[d], factor[0]));
        store(columns + d * kTile + kWidth, mul(second[d], factor[1]));
    }
}

template <int kHeadWidth, bool kComplete>
static void attend(const Attention& head, const Candidates& candidates, float* logits) {
    const int64_t width = kHeadWidth ? kHeadWidth : head.width;
    Vec highest[2], total[2];
    fill_logits<kHeadWidth, kComplete>(head, candidates, logits, highest);
    exponentiate(logits, candidates.count, highest, total);
    const Vec factor[2] = {div(set(1.0f), total[0]), div(set(1.0f), total[1])};

    constexpr int kMost = kAccumulators / 2;
    int64_t d = 0;
    for (; width - d >= kMost; d += kMost) {
        weighted_sum<kMost>(logits, candidates, head.values + d, width, factor, head.columns + d * kTile);
    }
    for (; width - d >= 4; d += 4) {
        weighted_sum<4>(logits, candidates, head.values + d, width, factor, head.columns + d * kTile);
    }
    for (; width - d >= 1; ++d) {
        weighted_sum<1>(logits, candidates, head.values + d, width, factor, head.columns + d * kTile);
    }
}

template <bool kComplete>
static void attend_by_width(const Attention& head, const Candidates& candidates, float* logits) {
    switch (head.width) {
        case 24:  // the released models
            return attend<24, kComplete>(head, candidates, logits);
        case 8:
            return attend<8, kComplete>(head, candidates, logits);
        default:
            return attend<0, kComplete>(head, candidates, logits);
    }
}

// keys, values: a head's 256 × width at each multiple of head_stride; keys divided by their norms; zeros
// outside the map.
template <typename T>
static void gather(const AggregateProblem& problem, const int64_t nodes[kCandidates], int64_t head_stride,
                   float* keys, float* values) {
    const int64_t channels = problem.channels, width = channels / problem.heads;
    const T* kv = static_cast<const T*>(problem.kv);
    constexpr int kAhead = 4;
    for (int m = 0; m < kCandidates; ++m) {
        if (m + kAhead < kCandidates && nodes[m + kAhead] != kOutside) {
            prefetch(kv + nodes[m + kAhead] * 2 * channels, 2 * channels);
        }
        const T* row = kv + nodes[m] * 2 * channels;
        for (int64_t head = 0; head < problem.heads; ++head) {
            float* key = keys + head * head_stride + m * width;
            float* value = values + head * head_stride + m * width;
            if (nodes[m] == kOutside) {
                for (int64_t d = 0; d < width; ++d) key[d] = value[d] = 0.0f;
            } else {
                load_unit_row(row + head * width, width, key);
                load_row(row + channels + head * width, width, value);
            }
        }
    }
}

template <typename T>
static void aggregate_task_of(const AggregateProblem& problem, size_t index, float* scratch) {
    const int64_t channels = problem.channels, width = channels / problem.heads;
    const int64_t head_stride = aggregate_head_stride(width);
    float* keys = scratch;
    float* values = keys + problem.heads * head_stride;
    float* columns = values + problem.heads * head_stride;  // tiles × channels × kTile: queries, then results
    float* logits = columns + kQueries * channels;

    Neighbourhood nodes;
    find_neighbourhood(problem.grid, index, &nodes);
    gather<T>(problem, nodes.candidate, head_stride, keys, values);

    Candidates all;
    all.count = kCandidates;
    for (int m = 0; m < kCandidates + kPadding; ++m) all.index[m] = static_cast<uint8_t>(m % kCandidates);

    for (int part = 0; part < nodes.group_count; ++part) {
        uint64_t edges[kCandidates];
        edges_by_candidate(problem.graph + nodes.group[part] * kQueries * kWords, edges);
        Candidates connected[kTiles];
        bool each_has_edge[kTiles];
        for (int tile = 0; tile < kTiles; ++tile)
            each_has_edge[tile] = find_connected(edges, tile, &connected[tile]);

        // Every row of memory is touched once, all heads together: in global sampling the rows are so many
        // multiples of a page apart that they push each other out of the cache.
        const T* rows[kQueries];
        T* out[kQueries];
        for (int n = 0; n < kQueries; ++n) {
            rows[n] = static_cast<const T*>(problem.q) + nodes.query[part][n] * channels;
            out[n] = static_cast<T*>(problem.out) + nodes.query[part][n] * channels;
        }
        for (int tile = 0; tile < kTiles; ++tile) {
            load_columns(rows + tile * kTile, channels, columns + tile * kTile * channels);
        }

        for (int64_t head = 0; head < problem.heads; ++head) {
            for (int tile = 0; tile < kTiles; ++tile) {
                const int first_query = tile * kTile;
                const int64_t bias_rows =
                    (head * kQueries + first_query / kBiasQueries * kBiasQueries) * kCandidates;
                const Attention attention{keys + head * head_stride,
                                          values + head * head_stride,
                                          columns + (tile * channels + head * width) * kTile,
                                          problem.bias + bias_rows + first_query % kBiasQueries,
                                          edges,
                                          first_query,
                                          width,
                                          problem.scale[head]};
                normalise_columns(attention.columns, width);
                if (problem.negligible[head] && each_has_edge[tile]) {
                    attend_by_width<false>(attention, connected[tile], logits);
                } else {
                    attend_by_width<true>(attention, all, logits);
                }
            }
        }
        for (int tile = 0; tile < kTiles; ++tile) {
            store_columns(columns + tile * kTile * channels, channels, out + tile * kTile);
        }
    }
}

void aggregate_task(const void* problem, size_t index, void* scratch) {
    const AggregateProblem& aggregate = *static_cast<const AggregateProblem*>(problem);
    if (aggregate.element == GLIC_FLOAT16) {
        aggregate_task_of<uint16_t>(aggregate, index, static_cast<float*>(scratch));
    } else if (aggregate.element == GLIC_BFLOAT16) {
        aggregate_task_of<Bfloat16>(aggregate, index, static_cast<float*>(scratch));
    } else {
        aggregate_task_of<float>(aggregate, index, static_cast<float*>(scratch));
    }
}

}  // namespace GLIC_SIMD
}  // namespace glic
