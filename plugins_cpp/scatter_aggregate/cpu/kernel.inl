// One task of ScatterAggregate: gather the keys and values of its candidates once, then attend from each of
// its groups, head by head, in tiles of as many queries as a vector has lanes. Lanes are queries throughout:
// keys and values are broadcast as they lie, every reduction over candidates is vertical, and a candidate
// that none of a tile's queries has an edge to is skipped. Included after a simd header.

#include <math.h>

#include "../../common/kernel.h"
#include "../../common/rows.inl"
#include "kernel.h"

namespace glic {
namespace GLIC_SIMD {

constexpr int kTiles = kQueries / kWidth;
constexpr int kBlock = kPadding;
constexpr float kNoEdge = -100.0f;

// The candidates that a tile of queries works through.
struct Tile {
    bool complete;  // a query has no edge and attends to all candidates
    int active_count;
    uint8_t
        active[kCandidates + kPadding];  // those with an edge from any of the tile's queries, then any others
};

static void find_active(const uint64_t edges[kCandidates], int tile, Tile* out) {
    constexpr uint64_t kLanes = (uint64_t{1} << kWidth) - 1;
    uint64_t connected = 0;
    int count = 0;
    for (int m = 0; m < kCandidates; ++m) {
        const uint64_t bits = edges[m] >> (tile * kWidth) & kLanes;
        out->active[count] = static_cast<uint8_t>(m);
        count += bits != 0;
        connected |= bits;
    }
    // What follows in a last block is computed in vain, its weights never used.
    for (int m = count; m < count + kPadding; ++m) out->active[m] = 0;
    out->active_count = count;
    out->complete = connected != kLanes;
}

// One head of one tile.
struct Attention {
    const float* keys;     // 256 × width, unit length
    const float* values;   // 256 × width
    const float* queries;  // width × kWidth, unit length
    const float* bias;     // 256 × 64, from the tile's first query
    const uint64_t* edges;
    int edge_shift;
    int64_t width;
    float scale;
};

// Similarities of `kBlock` candidates. kHeadWidth is the head's width where it is known when compiling, else
// 0.
template <int kHeadWidth>
static inline void similarities(const Attention& head, const uint8_t* candidates, Vec out[kBlock]) {
    const int64_t width = kHeadWidth ? kHeadWidth : head.width;
    const float* keys[kBlock];
    for (int r = 0; r < kBlock; ++r) {
        keys[r] = head.keys + candidates[r] * width;
        out[r] = set(0.0f);
    }
#pragma GCC unroll 24
    for (int64_t d = 0; d < width; ++d) {
        const Vec query = load(head.queries + d * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < kBlock; ++r) out[r] = fma(set(keys[r][d]), query, out[r]);
    }
}

// Logits of `count` candidates, rounded up to whole blocks, and their maximum per query. kComplete: a
// non-edge is penalised as the definition says; otherwise its logit is -infinity.
template <int kHeadWidth, bool kComplete>
static Vec fill_logits(const Attention& head, const uint8_t* candidates, int count, float* logits) {
    const Vec scale = set(head.scale), nothing = set(-INFINITY);
    Vec highest = nothing;
    for (int first = 0; first < count; first += kBlock) {
        Vec similarity[kBlock];
        similarities<kHeadWidth>(head, candidates + first, similarity);
#pragma GCC unroll 8
        for (int r = 0; r < kBlock; ++r) {
            const int m = candidates[first + r];
            const Lanes edge = lanes_of(static_cast<uint32_t>(head.edges[m] >> head.edge_shift));
            const Vec bias = load(head.bias + m * kQueries);
            Vec logit;
            if (kComplete) {
                const Vec penalised = add(similarity[r], select(edge, set(0.0f), set(kNoEdge)));
                // Rounded where the definition rounds: at scale 100 the fused product would be another
                // number.
                logit = add(mul(penalised, scale), bias);
            } else {
                logit = select(edge, fma(similarity[r], scale, bias), nothing);
            }
            highest = max(highest, logit);
            store(logits + (first + r) * kWidth, logit);
        }
    }
    return highest;
}

// Logits to weights, in place; returns their sum per query.
static inline Vec exponentiate(float* logits, int count, Vec highest) {
    Vec total = set(0.0f);
    for (int i = 0; i < count; ++i) {
        const Vec weight = exp_negative(sub(load(logits + i * kWidth), highest));
        total = add(total, weight);
        store(logits + i * kWidth, weight);
    }
    return total;
}

// kChannels channels of the weighted sum of values, times `factor`.
template <int kChannels>
static inline void weighted_sum(const float* weights, const uint8_t* candidates, int count,
                                const float* values, int64_t width, Vec factor, float* columns) {
    Vec sums[kChannels];
#pragma GCC unroll 24
    for (int d = 0; d < kChannels; ++d) sums[d] = set(0.0f);
    for (int i = 0; i < count; ++i) {
        const Vec weight = load(weights + i * kWidth);
        const float* value = values + candidates[i] * width;
#pragma GCC unroll 24
        for (int d = 0; d < kChannels; ++d) sums[d] = fma(set(value[d]), weight, sums[d]);
    }
#pragma GCC unroll 24
    for (int d = 0; d < kChannels; ++d) store(columns + d * kWidth, mul(sums[d], factor));
}

// columns[d·kWidth + query] of one head of one tile. candidates has room for a whole last block.
template <int kHeadWidth, bool kComplete>
static void attend(const Attention& head, const uint8_t* candidates, int count, float* logits,
                   float* columns) {
    const int64_t width = kHeadWidth ? kHeadWidth : head.width;
    const Vec highest = fill_logits<kHeadWidth, kComplete>(head, candidates, count, logits);
    const Vec factor = div(set(1.0f), exponentiate(logits, count, highest));
    int64_t d = 0;
    while (d < width) {
        const float* values = head.values + d;
        float* out = columns + d * kWidth;
        const int64_t left = width - d;
        if (kAccumulators >= 24 && left >= 24) {
            weighted_sum<24>(logits, candidates, count, values, width, factor, out);
            d += 24;
        } else if (kAccumulators >= 12 && left >= 12) {
            weighted_sum<12>(logits, candidates, count, values, width, factor, out);
            d += 12;
        } else if (left >= 8) {
            weighted_sum<8>(logits, candidates, count, values, width, factor, out);
            d += 8;
        } else if (left >= 4) {
            weighted_sum<4>(logits, candidates, count, values, width, factor, out);
            d += 4;
        } else {
            weighted_sum<1>(logits, candidates, count, values, width, factor, out);
            d += 1;
        }
    }
}

template <bool kComplete>
static void attend_by_width(const Attention& head, const uint8_t* candidates, int count, float* logits,
                            float* columns) {
    switch (head.width) {
        case 24:
            return attend<24, kComplete>(head, candidates, count, logits, columns);
        case 8:
            return attend<8, kComplete>(head, candidates, count, logits, columns);
        default:
            return attend<0, kComplete>(head, candidates, count, logits, columns);
    }
}

// keys, values: heads × 256 × width; keys divided by their norms; zeros outside the map.
template <typename T>
static void gather(const AggregateProblem& problem, const int64_t nodes[kCandidates], float* keys,
                   float* values) {
    const int64_t channels = problem.channels, width = channels / problem.heads;
    for (int m = 0; m < kCandidates; ++m) {
        const T* row = static_cast<const T*>(problem.kv) + nodes[m] * 2 * channels;
        for (int64_t head = 0; head < problem.heads; ++head) {
            float* key = keys + (head * kCandidates + m) * width;
            float* value = values + (head * kCandidates + m) * width;
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
    float* keys = scratch;
    float* values = keys + kCandidates * channels;
    float* queries = values + kCandidates * channels;
    float* results = queries + width * kWidth;
    float* logits = results + width * kWidth;

    Neighbourhood nodes;
    find_neighbourhood(problem.grid, index, &nodes);
    gather<T>(problem, nodes.candidate, keys, values);

    uint8_t all[kCandidates];
    for (int m = 0; m < kCandidates; ++m) all[m] = static_cast<uint8_t>(m);

    for (int part = 0; part < nodes.group_count; ++part) {
        uint64_t edges[kCandidates];
        edges_by_candidate(problem.graph + nodes.group[part] * kQueries * kWords, edges);
        Tile tiles[kTiles];
        for (int t = 0; t < kTiles; ++t) find_active(edges, t, &tiles[t]);

        for (int64_t head = 0; head < problem.heads; ++head) {
            for (int t = 0; t < kTiles; ++t) {
                const int64_t* query = nodes.query[part] + t * kWidth;
                const T* rows[kWidth];
                T* out[kWidth];
                for (int lane = 0; lane < kWidth; ++lane) {
                    rows[lane] = static_cast<const T*>(problem.q) + query[lane] * channels + head * width;
                    out[lane] = static_cast<T*>(problem.out) + query[lane] * channels + head * width;
                }
                load_columns(rows, width, queries);
                normalise_columns(queries, width);

                const Attention attention{keys + head * kCandidates * width,
                                          values + head * kCandidates * width,
                                          queries,
                                          problem.bias + head * kCandidates * kQueries + t * kWidth,
                                          edges,
                                          t * kWidth,
                                          width,
                                          problem.scale[head]};
                if (tiles[t].complete || !problem.negligible[head]) {
                    attend_by_width<true>(attention, all, kCandidates, logits, results);
                } else {
                    attend_by_width<false>(attention, tiles[t].active, tiles[t].active_count, logits,
                                           results);
                }
                store_columns(results, width, out);
            }
        }
    }
}

void aggregate_task(const void* problem, size_t index, void* scratch) {
    const AggregateProblem& aggregate = *static_cast<const AggregateProblem*>(problem);
    if (aggregate.element == GLIC_FLOAT16) {
        aggregate_task_of<uint16_t>(aggregate, index, static_cast<float*>(scratch));
    } else {
        aggregate_task_of<float>(aggregate, index, static_cast<float*>(scratch));
    }
}

}  // namespace GLIC_SIMD
}  // namespace glic
