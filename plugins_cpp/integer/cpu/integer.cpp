#include "../integer.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "../../common/isa.h"
#include "../../common/tasks.h"
#include "kernel.h"

namespace glic {
namespace {

// Positions of a tile: as many as make good use of a panel that is in cache, as few as give every thread
// some.
int64_t tile_size(int64_t positions, const glic_parallel* parallel) {
    const int64_t threads = parallel == nullptr ? 1 : static_cast<int64_t>(parallel->lanes);
    const int64_t share = (positions + threads - 1) / threads;
    return std::min((share + kTileStep - 1) / kTileStep * kTileStep, kMaxTile);
}

bool has_vnni() {
#if defined(GLIC_X86_KERNELS)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
#else
    return false;
#endif
}

Task choose(Task portable, Task avx2, Task avx512vnni) {
    const Isa isa = selected_isa();
    if (isa == Isa::kPortable) return portable;
    return isa == Isa::kAvx512 && has_vnni() ? avx512vnni : avx2;
}

}  // namespace

void Panels::Free::operator()(int16_t* memory) const { std::free(memory); }

Panels::Panels(const int8_t* weight, const int32_t* bias, const int32_t* shift, int64_t inputs,
               int64_t outputs, bool halves)
    : inputs_(inputs), outputs_(outputs) {
    const int64_t part = halves ? kPanelColumns / 2 : kPanelColumns;
    const int64_t columns = halves ? outputs / 2 : outputs;
    const int64_t panels = (columns + part - 1) / part;
    const size_t size = static_cast<size_t>(panels * pairs() * 2 * kPanelColumns);
    weights_.reset(static_cast<int16_t*>(std::aligned_alloc(64, size * sizeof(int16_t))));
    if (!weights_) throw std::bad_alloc();
    std::fill_n(weights_.get(), size, int16_t{0});
    bias_.assign(static_cast<size_t>(panels * kPanelColumns), 0);
    shift_.assign(bias_.size(), 0);
    for (int64_t packed = 0; packed < panels * kPanelColumns; ++packed) {
        const int64_t panel = packed / kPanelColumns, j = packed % kPanelColumns;
        const int64_t column = panel * part + j % part;
        if (column >= columns) continue;
        const int64_t source = column + j / part * columns;
        bias_[static_cast<size_t>(packed)] = bias[source];
        shift_[static_cast<size_t>(packed)] = shift[source];
        int16_t* to = weights_.get() + panel * pairs() * 2 * kPanelColumns + 2 * j;
        for (int64_t k = 0; k < inputs; ++k) {
            to[k / 2 * 2 * kPanelColumns + k % 2] = weight[k * outputs + source];
        }
    }
}

int integer_linear(const Panels& linear, int32_t limit, const float* x, int64_t positions, float* y,
                   const glic_parallel* parallel) {
    const LinearProblem problem{&linear, limit, x, y, positions, tile_size(positions, parallel)};
    const size_t tiles = static_cast<size_t>((positions + problem.tile - 1) / problem.tile);
    const Task task = choose(portable::linear_task,
#if defined(GLIC_X86_KERNELS)
                             avx2::linear_task, avx512vnni::linear_task
#else
                             nullptr, nullptr
#endif
    );
    return run_tasks(parallel, tiles, linear_scratch_bytes(linear, problem.tile), task, &problem);
}

int integer_gated_ffn(const GatedFfn& ffn, const float* stream, int64_t positions, float* out,
                      const glic_parallel* parallel) {
    const FfnProblem problem{&ffn, stream, out, positions, tile_size(positions, parallel)};
    const size_t tiles = static_cast<size_t>((positions + problem.tile - 1) / problem.tile);
    const Task task = choose(portable::gated_ffn_task,
#if defined(GLIC_X86_KERNELS)
                             avx2::gated_ffn_task, avx512vnni::gated_ffn_task
#else
                             nullptr, nullptr
#endif
    );
    return run_tasks(parallel, tiles, ffn_scratch_bytes(ffn, problem.tile), task, &problem);
}

}  // namespace glic
