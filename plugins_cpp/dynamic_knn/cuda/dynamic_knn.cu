// DynamicKnn on a GPU: one block of four warps a group, 16 queries a warp. The candidates' features pass
// through shared memory once, a slice of channels at a time, the next slice arriving while the warps
// multiply; queries are among the candidates, so they need no copy of their own. A warp keeps its 16×256
// similarities in registers, where the bisection never leaves them and needs no barrier.
#include <cuda_runtime.h>

#include <cstddef>

#include "../../common/cuda/group.cuh"
#include "../../common/cuda/launch.cuh"
#include "../../common/cuda/warp.cuh"
#include "../dynamic_knn_cuda.h"

namespace glic {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kSliceChunks = 8;  // of a row, in one stage
constexpr int kStride = padded_row(kSliceChunks * kChunk);
constexpr int kStage = kCandidates * kStride;
constexpr int kStages = 2;
constexpr int kSharedBytes = kStages * kStage + kCandidates * static_cast<int>(sizeof(float));
constexpr int kTiles = kCandidates / 8;
constexpr int kBisections = 5;
constexpr float kGroupEdges = 64.0f * 64.0f;  // 64 queries of top_k edges

struct Problem {
    int height, width, channels, sampling;
    bool aligned;
    const void* x;
    const float* complexity;
    int32_t* graph;
};

// Chunks of a slice that hold channels, and zeros up to a whole step.
template <typename T>
__device__ int chunks_of(const Problem& problem, int slice) {
    constexpr int kStepElements = 2 * kChunk / static_cast<int>(sizeof(T));
    const int left = problem.channels - slice * kSliceChunks / 2 * kStepElements;
    return min(kSliceChunks, 2 * ((left + kStepElements - 1) / kStepElements));
}

// Starts copying one slice of all candidates.
template <typename T>
__device__ void stage_slice(const Problem& problem, const Group& group, int slice, unsigned char* stage) {
    constexpr int kElements = kChunk / static_cast<int>(sizeof(T));
    const T* x = static_cast<const T*>(problem.x);
    const int chunk = threadIdx.x % kSliceChunks;
    const int channel = (slice * kSliceChunks + chunk) * kElements;
    const int left = problem.channels - channel;
    for (int m = threadIdx.x / kSliceChunks; m < kCandidates; m += kThreads / kSliceChunks) {
        const int node = group.candidate(m);
        const bool inside = node != kOutside && left > 0;
        const T* from = inside ? x + static_cast<size_t>(node) * problem.channels + channel : x;
        copy_chunk(stage + m * kStride + chunk * kChunk, from, inside ? left : 0, problem.aligned);
    }
    copy_async_commit();
}

// similarity[j]: 16 queries times candidates 8j to 8j + 7, one slice more. row: which candidate the lane's
// query is, for lanes 0 to 15 and again for lanes 16 to 31.
template <typename T>
__device__ void multiply_slice(float similarity[kTiles][4], const unsigned char* stage, int row, int chunks) {
    const int lane = threadIdx.x % kWarp;
    // The rows of 16 bytes of which the lane says where they are: of the queries' four matrices, rows 0 to 7
    // and 8 to 15 of a chunk, then of the next; of the candidates' four, both chunks of 8 rows, then of the
    // next 8.
    const unsigned char* queries = stage + row * kStride + lane / 16 * kChunk;
    const unsigned char* candidates = stage + (lane / 16 * 8 + lane % 8) * kStride + lane / 8 % 2 * kChunk;
#pragma unroll 1
    for (int chunk = 0; chunk < chunks; chunk += 2) {
        uint32_t a[4];
        load_matrices(a, queries + chunk * kChunk);
#pragma unroll
        for (int j = 0; j < kTiles; j += 2) {
            uint32_t b[4];
            load_matrices(b, candidates + j * 8 * kStride + chunk * kChunk);
            multiply_step<T>(similarity[j], a, b);
            multiply_step<T>(similarity[j + 1], a, b + 2);
        }
    }
}

// The threshold of one row, whose similarities are elements 2·half and 2·half + 1 of a quad's tiles.
__device__ float bisect(const float similarity[kTiles][4], int half, float budget) {
    float low = similarity[0][2 * half], sum = 0.0f;
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
        const float first = similarity[j][2 * half], second = similarity[j][2 * half + 1];
        low = fminf(low, fminf(first, second));
        sum += first + second;
    }
    low = quad_min(low);
    float high = 1.0f, threshold = quad_sum(sum) * (1.0f / kCandidates);
#pragma unroll 1
    for (int step = 0; step < kBisections; ++step) {
        int above = 0;
#pragma unroll
        for (int j = 0; j < kTiles; ++j) {
            above += (similarity[j][2 * half] > threshold) + (similarity[j][2 * half + 1] > threshold);
        }
        if (static_cast<float>(quad_sum(above)) > budget) {
            low = threshold;
        } else {
            high = threshold;
        }
        threshold = (low + high) * 0.5f;
    }
    return threshold;
}

// A row's edge bits; each lane of a quad writes two of the eight words.
__device__ void write_edges(const float similarity[kTiles][4], int half, float threshold, int32_t* row) {
    const int t = threadIdx.x % 4;
#pragma unroll
    for (int word = 0; word < kWords; ++word) {
        uint32_t bits = 0;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const float* tile = similarity[4 * word + j];
            bits |= static_cast<uint32_t>(tile[2 * half] > threshold) << (8 * j + 2 * t);
            bits |= static_cast<uint32_t>(tile[2 * half + 1] > threshold) << (8 * j + 2 * t + 1);
        }
        bits = quad_or(bits);
        if (word / 2 == t) row[word] = static_cast<int32_t>(bits);
    }
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 3) select_neighbours(const Problem problem) {
    unsigned char* stages = shared_memory();
    float* inverse_norms = reinterpret_cast<float*>(stages + kStages * kStage);
    const Group group(problem.height, problem.width, problem.sampling, static_cast<int>(blockIdx.x));
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    const int query[2] = {16 * warp + lane / 4, 16 * warp + lane / 4 + 8};  // of this lane's quad
    const int numbers[2] = {group.query_as_candidate(query[0]), group.query_as_candidate(query[1])};
    const int row = group.query_as_candidate(16 * warp + lane % 16);

    float similarity[kTiles][4];
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) similarity[j][i] = 0.0f;
    }
    float squares[kCandidates / kThreads] = {};

    constexpr int kSlice = kSliceChunks * kChunk / static_cast<int>(sizeof(T));
    const int slices = (problem.channels + kSlice - 1) / kSlice;
    stage_slice<T>(problem, group, 0, stages);
    for (int slice = 0; slice < slices; ++slice) {
        if (slice + 1 < slices) {
            stage_slice<T>(problem, group, slice + 1, stages + (slice + 1) % kStages * kStage);
            copy_async_wait<1>();
        } else {
            copy_async_wait<0>();
        }
        __syncthreads();
        const unsigned char* stage = stages + slice % kStages * kStage;
        const int chunks = chunks_of<T>(problem, slice);
        multiply_slice<T>(similarity, stage, row, chunks);
#pragma unroll
        for (int i = 0; i < kCandidates / kThreads; ++i) {
            squares[i] += sum_of_squares<T>(stage + (threadIdx.x + i * kThreads) * kStride, chunks);
        }
        __syncthreads();  // before the next copy overwrites the stage
    }

#pragma unroll
    for (int i = 0; i < kCandidates / kThreads; ++i) {
        inverse_norms[threadIdx.x + i * kThreads] = inverse_norm(squares[i]);
    }
    __syncthreads();
    const float query_norms[2] = {inverse_norms[numbers[0]], inverse_norms[numbers[1]]};
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
        const float2 norms = *reinterpret_cast<const float2*>(inverse_norms + 8 * j + 2 * (lane % 4));
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            similarity[j][i] *= query_norms[i / 2] * (i % 2 ? norms.y : norms.x);
        }
    }

    // Each warp adds up the group's complexity for itself.
    float total = problem.complexity[group.query(lane)] + problem.complexity[group.query(lane + kWarp)];
#pragma unroll
    for (int distance = kWarp / 2; distance != 0; distance /= 2) {
        total += __shfl_xor_sync(kAllLanes, total, distance);
    }
    int32_t* graph = problem.graph + static_cast<size_t>(blockIdx.x) * kQueries * kWords;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const float share = problem.complexity[group.query(query[half])] / total * kGroupEdges;
        // A NaN share is no limit.
        const float budget = share < 1.0f ? 1.0f : share < kCandidates ? share : kCandidates;
        write_edges(similarity, half, bisect(similarity, half, budget), graph + query[half] * kWords);
    }
}

template <typename T>
cudaError_t launch(const glic_dynamic_knn_size& size, Problem problem, cudaStream_t stream) {
    problem.aligned = is_aligned(problem.x, size.channels * static_cast<int64_t>(sizeof(T)));
    const auto kernel = select_neighbours<T>;
    static BlocksAtOnce blocks_at_once;
    int blocks = 0;
    const cudaError_t result = blocks_at_once.get(kernel, kThreads, kSharedBytes, &blocks);
    if (result != cudaSuccess) return result;
    const int64_t groups = size.images * (size.height / kWindow) * (size.width / kWindow);
    return launch_kernel(kernel, static_cast<unsigned>(groups), kThreads, kSharedBytes, stream, problem);
}

}  // namespace
}  // namespace glic

int glic_dynamic_knn_cuda(const glic_dynamic_knn_size* size, int32_t element, const void* x,
                          const float* complexity, int32_t* graph, void* stream) {
    if (!glic::fits_int(size->images, size->height, size->width)) return cudaErrorInvalidValue;
    const glic::Problem problem{static_cast<int>(size->height),
                                static_cast<int>(size->width),
                                static_cast<int>(size->channels),
                                size->sampling,
                                false,
                                x,
                                complexity,
                                graph};
    const auto cuda_stream = static_cast<cudaStream_t>(stream);
    switch (element) {
        case GLIC_FLOAT32:
            return glic::launch<float>(*size, problem, cuda_stream);
        case GLIC_FLOAT16:
            return glic::launch<glic::float16>(*size, problem, cuda_stream);
        case GLIC_BFLOAT16:
            return glic::launch<glic::bfloat16>(*size, problem, cuda_stream);
        default:
            return cudaErrorInvalidValue;
    }
}
