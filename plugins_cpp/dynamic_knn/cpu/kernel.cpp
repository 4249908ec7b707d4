// One task of DynamicKnn: gather its candidates once, then for each of its groups all similarities and the
// bisection. Lanes are queries throughout, so that every reduction over a row's candidates is vertical.
#include "../../common/simd.h"
// The instruction set comes first.
#include "../../common/kernel.h"
#include "../../common/rows.inl"
#include "kernel.h"

namespace glic {
namespace GLIC_SIMD {

constexpr int kBisections = 5;
constexpr float kGroupEdges = 64.0f * 64.0f;  // 64 queries of top_k edges

// out[m·64 + query] = <candidate m, query> for a block of candidates and a tile of queries.
static inline void similarity_block(const float* candidates, const float* queries, int64_t channels,
                                    float* out) {
    Vec first[kBlock], second[kBlock];
    for (int r = 0; r < kBlock; ++r) first[r] = second[r] = set(0.0f);
    for (int64_t d = 0; d < channels; ++d) {
        const Vec query0 = load(queries + d * kTile), query1 = load(queries + d * kTile + kWidth);
#pragma GCC unroll 16
        for (int r = 0; r < kBlock; ++r) {
            const Vec value = set(candidates[r * channels + d]);
            first[r] = fma(value, query0, first[r]);
            second[r] = fma(value, query1, second[r]);
        }
    }
    for (int r = 0; r < kBlock; ++r) {
        store(out + r * kQueries, first[r]);
        store(out + r * kQueries + kWidth, second[r]);
    }
}

static void similarities(const float* candidates, const float* queries, int64_t channels, float* out) {
    for (int tile = 0; tile < kTiles; ++tile) {
        for (int block = 0; block < kCandidates; block += kBlock) {
            // The last block overlaps the one before where 256 is no multiple.
            const int m = block + kBlock <= kCandidates ? block : kCandidates - kBlock;
            similarity_block(candidates + m * channels, queries + tile * kTile * channels, channels,
                             out + m * kQueries + tile * kTile);
        }
    }
}

// Thresholds the rows of one vector of queries from `query` on; adds their bits to edges[m].
static void choose_edges(const float* similarity, Vec budget, int query, uint64_t edges[kCandidates]) {
    const float* rows = similarity + query;
    const Vec one = set(1.0f), half = set(0.5f);
    // Four partial sums: shorter chains, and a mean closer to the exact one.
    Vec sums[4], low = load(rows);
    for (int part = 0; part < 4; ++part) sums[part] = set(0.0f);
    for (int m = 0; m < kCandidates; m += 4) {
        for (int part = 0; part < 4; ++part) {
            const Vec value = load(rows + (m + part) * kQueries);
            sums[part] = add(sums[part], value);
            low = min(low, value);
        }
    }
    Vec threshold = mul(add(add(sums[0], sums[1]), add(sums[2], sums[3])), set(1.0f / kCandidates));
    Vec high = one;
    for (int step = 0; step < kBisections; ++step) {
        Vec counts[4];
        for (int part = 0; part < 4; ++part) counts[part] = set(0.0f);
        for (int m = 0; m < kCandidates; m += 4) {
            for (int part = 0; part < 4; ++part) {
                const Lanes above = greater(load(rows + (m + part) * kQueries), threshold);
                counts[part] = select(above, add(counts[part], one), counts[part]);
            }
        }
        const Vec count = add(add(counts[0], counts[1]), add(counts[2], counts[3]));
        const Lanes too_many = greater(count, budget);
        low = select(too_many, threshold, low);
        high = select(too_many, high, threshold);
        threshold = mul(add(low, high), half);
    }
    for (int m = 0; m < kCandidates; ++m) {
        const uint64_t chosen = bits_of(greater(load(rows + m * kQueries), threshold));
        edges[m] |= chosen << query;
    }
}

template <typename T>
static void knn_task_of(const KnnProblem& problem, size_t index, float* scratch) {
    const int64_t channels = problem.channels;
    const T* x = static_cast<const T*>(problem.x);
    float* candidates = scratch;                           // 256 × channels
    float* queries = candidates + kCandidates * channels;  // tiles × channels × kTile
    float* similarity = queries + kQueries * channels;     // 256 × 64

    Neighbourhood nodes;
    find_neighbourhood(problem.grid, index, &nodes);
    for (int m = 0; m < kCandidates; ++m) {
        float* unit = candidates + m * channels;
        if (nodes.candidate[m] == kOutside) {
            for (int64_t d = 0; d < channels; ++d) unit[d] = 0.0f;
        } else {
            load_unit_row(x + nodes.candidate[m] * channels, channels, unit);
        }
    }

    for (int part = 0; part < nodes.group_count; ++part) {
        const int64_t* query = nodes.query[part];
        float share[kQueries], total = 0.0f;
        for (int n = 0; n < kQueries; ++n) total += share[n] = problem.complexity[query[n]];

        for (int tile = 0; tile < kTiles; ++tile) {
            const T* rows[kTile];
            for (int lane = 0; lane < kTile; ++lane) rows[lane] = x + query[tile * kTile + lane] * channels;
            float* columns = queries + tile * kTile * channels;
            load_columns(rows, channels, columns);
            normalise_columns(columns, channels);
        }
        similarities(candidates, queries, channels, similarity);

        uint64_t edges[kCandidates] = {};
        for (int first = 0; first < kQueries; first += kWidth) {
            const Vec wanted = mul(div(load(share + first), set(total)), set(kGroupEdges));
            // min and max give their second operand for NaN: no budget means no limit.
            const Vec budget = min(max(set(1.0f), wanted), set(static_cast<float>(kCandidates)));
            choose_edges(similarity, budget, first, edges);
        }
        edges_by_query(edges, problem.graph + nodes.group[part] * kQueries * kWords);
    }
}

void knn_task(const void* problem, size_t index, void* scratch) {
    const KnnProblem& knn = *static_cast<const KnnProblem*>(problem);
    if (knn.element == GLIC_FLOAT16) {
        knn_task_of<uint16_t>(knn, index, static_cast<float*>(scratch));
    } else if (knn.element == GLIC_BFLOAT16) {
        knn_task_of<Bfloat16>(knn, index, static_cast<float*>(scratch));
    } else {
        knn_task_of<float>(knn, index, static_cast<float*>(scratch));
    }
}

}  // namespace GLIC_SIMD
}  // namespace glic
