// One task of the DynamicKnn CPU kernel, as each instruction set builds it.
#ifndef GLIC_DYNAMIC_KNN_CPU_KERNEL_H
#define GLIC_DYNAMIC_KNN_CPU_KERNEL_H

#include <cstddef>
#include <cstdint>

#include "../../common/groups.h"
#include "../../common/isa.h"

namespace glic {

struct KnnProblem {
    Grid grid;
    int64_t channels;
    int32_t element;
    const void* x;
    const float* complexity;
    int32_t* graph;
};

// Bytes of scratch that a task needs: unit candidates, unit queries, similarities.
inline size_t knn_scratch_bytes(int64_t channels) {
    return sizeof(float) *
           (static_cast<size_t>(channels) * (kCandidates + kQueries) + kCandidates * kQueries);
}

GLIC_DECLARE_TASK(knn_task)

}  // namespace glic

#endif
