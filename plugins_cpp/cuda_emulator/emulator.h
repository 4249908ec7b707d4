// Runs CUDA kernels on the CPU, for tests only: the kernels' own source, compiled as C++ with the headers
// under include/. Every thread of a block is a fiber, blocks run one after another. It finds what a GPU would
// do wrong silently: fibers run in the order asked for until they wait, so a missing barrier shows; copies to
// shared memory happen when they are waited for, and leave NaNs before; shared memory starts as NaNs and is
// allocated to the byte, for an address sanitizer to watch; threads that wait for each other in different
// places end the program.
#ifndef GLIC_CUDA_EMULATOR_EMULATOR_H
#define GLIC_CUDA_EMULATOR_EMULATOR_H

#include <cstddef>
#include <functional>

namespace glic_emulator {

constexpr int kSharedLimit = 99 * 1024;  // of a block on sm_86, sm_89 and sm_120
constexpr int kProcessors = 3;           // few, so that a persistent block takes several groups

struct Dim3 {
    unsigned x = 1, y = 1, z = 1;
    Dim3() = default;
    explicit Dim3(unsigned width) : x(width) {}
};

// Of the running thread.
extern Dim3 threadIdx, blockIdx, gridDim;
unsigned char* shared_memory();

// Runs `kernel` once for each thread of each block.
void run_grid(Dim3 grid, Dim3 threads, size_t shared_bytes, const std::function<void()>& kernel);

// Whether the threads of a block take turns from the last to the first.
void set_reversed(bool reversed);

// Waits for the other threads of the block.
void block_barrier();
int block_and(int predicate);

// Waits for the other lanes of the warp, which must call it by the same name; then `perform` has run once on
// what all 32 brought.
void warp_collective(const char* name, void* argument, void (*perform)(void* const lanes[32]));

// Copies of this thread in the background; from nullptr: zeros.
void copy_async(void* to, const void* from, size_t bytes);
void copy_async_commit();
void copy_async_wait(size_t pending);

void require_aligned(const void* address, size_t bytes, const char* instruction);

}  // namespace glic_emulator

#endif
