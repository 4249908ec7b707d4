#include "emulator.h"

#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace glic_emulator {

Dim3 threadIdx, blockIdx, gridDim;

namespace {

constexpr size_t kStackBytes = 512 * 1024;
constexpr unsigned kWarp = 32;

[[noreturn]] void fail(const char* format, const char* first, const char* second = "") {
    std::fprintf(stderr, format, first, second);
    std::fputc('\n', stderr);
    std::exit(3);
}

struct Copy {
    void* to;
    const void* from;
    size_t bytes;
};

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[kStackBytes]};
    void* fake_stack = nullptr;  // the address sanitizer's
    unsigned thread = 0;
    const char* waiting = nullptr;  // at what
    void* argument = nullptr;
    bool finished = false;
    std::deque<std::vector<Copy>> batches;  // the last is open
};

// Threads that wait for each other.
struct Meeting {
    const char* name = nullptr;
    size_t come = 0;
};

// One block at a time.
struct Scheduler {
    std::vector<Fiber> fibers;
    std::vector<Meeting> warps;
    Meeting block;
    Fiber* running = nullptr;
    ucontext_t context;
    void* fake_stack = nullptr;
    const void* stack = nullptr;
    size_t stack_bytes = 0;
    const std::function<void()>* kernel = nullptr;
    unsigned char* shared = nullptr;
    bool reversed = false;
} scheduler;

void before_switch([[maybe_unused]] void** save, [[maybe_unused]] const void* stack,
                   [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(save, stack, bytes);
#endif
}
void after_switch([[maybe_unused]] void* saved, [[maybe_unused]] const void** stack,
                  [[maybe_unused]] size_t* bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(saved, stack, bytes);
#endif
}

void give_way() {
    Fiber& fiber = *scheduler.running;
    before_switch(fiber.finished ? nullptr : &fiber.fake_stack, scheduler.stack, scheduler.stack_bytes);
    swapcontext(&fiber.context, &scheduler.context);
    after_switch(fiber.fake_stack, &scheduler.stack, &scheduler.stack_bytes);
}

void resume(Fiber& fiber) {
    scheduler.running = &fiber;
    threadIdx.x = fiber.thread;
    before_switch(&scheduler.fake_stack, fiber.stack.get(), kStackBytes);
    swapcontext(&scheduler.context, &fiber.context);
    after_switch(scheduler.fake_stack, nullptr, nullptr);
}

void thread_main() {
    after_switch(nullptr, &scheduler.stack, &scheduler.stack_bytes);
    (*scheduler.kernel)();
    scheduler.running->finished = true;
    give_way();
}

// Waits until `count` threads, `first` and those after it, have come to `meeting`; the last calls `perform`.
template <typename Perform>
void meet(Meeting& meeting, Fiber* first, size_t count, const char* name, void* argument, Perform perform) {
    if (meeting.come == 0) meeting.name = name;
    if (std::strcmp(meeting.name, name) != 0)
        fail("threads wait for each other at %s and %s", meeting.name, name);
    scheduler.running->argument = argument;
    if (++meeting.come < count) {
        scheduler.running->waiting = name;
        give_way();
        return;
    }
    perform();
    meeting.come = 0;
    for (Fiber* fiber = first; fiber != first + count; ++fiber) fiber->waiting = nullptr;
}

void start(Fiber& fiber, unsigned thread) {
    fiber.thread = thread;
    fiber.finished = false;
    fiber.waiting = nullptr;
    fiber.batches.assign(1, {});
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    makecontext(&fiber.context, thread_main, 0);
    // Or the address sanitizer would wipe what it knows of the stack at every switch.
    fiber.context.uc_stack.ss_size = 0;
}

void run_block() {
    for (size_t thread = 0; thread < scheduler.fibers.size(); ++thread) {
        start(scheduler.fibers[thread], static_cast<unsigned>(thread));
    }
    for (bool any = true; any;) {
        any = false;
        const char* stuck = nullptr;
        for (size_t turn = 0; turn < scheduler.fibers.size(); ++turn) {
            Fiber& fiber = scheduler.fibers[scheduler.reversed ? scheduler.fibers.size() - 1 - turn : turn];
            if (fiber.finished) continue;
            if (fiber.waiting != nullptr) {
                stuck = fiber.waiting;
                continue;
            }
            any = true;
            resume(fiber);
        }
        if (!any && stuck != nullptr) fail("threads wait forever at %s%s", stuck);
    }
    for (const Fiber& fiber : scheduler.fibers) {
        for (const auto& batch : fiber.batches) {
            if (!batch.empty()) fail("a thread returned without waiting for its copies%s", "");
        }
    }
}

}  // namespace

unsigned char* shared_memory() { return scheduler.shared; }

void set_reversed(bool reversed) { scheduler.reversed = reversed; }

void run_grid(Dim3 grid, Dim3 threads, size_t shared_bytes, const std::function<void()>& kernel) {
    scheduler.fibers.resize(threads.x);
    scheduler.warps.resize(threads.x / kWarp);
    scheduler.kernel = &kernel;
    gridDim = grid;
    for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) {
        const std::unique_ptr<unsigned char, decltype(&std::free)> shared(
            static_cast<unsigned char*>(std::aligned_alloc(16, shared_bytes)), std::free);
        std::memset(shared.get(), 0xFF, shared_bytes);
        scheduler.shared = shared.get();
        run_block();
    }
}

void block_barrier() {
    meet(scheduler.block, scheduler.fibers.data(), scheduler.fibers.size(), "__syncthreads", nullptr, [] {});
}

int block_and(int predicate) {
    const auto perform = [] {
        int all = 1;
        for (const Fiber& fiber : scheduler.fibers) all &= *static_cast<int*>(fiber.argument) != 0;
        for (const Fiber& fiber : scheduler.fibers) *static_cast<int*>(fiber.argument) = all;
    };
    meet(scheduler.block, scheduler.fibers.data(), scheduler.fibers.size(), "__syncthreads_and", &predicate,
         perform);
    return predicate;
}

void warp_collective(const char* name, void* argument, void (*perform)(void* const lanes[32])) {
    const size_t warp = scheduler.running->thread / kWarp;
    Fiber* first = &scheduler.fibers[warp * kWarp];
    meet(scheduler.warps[warp], first, kWarp, name, argument, [&] {
        void* lanes[kWarp];
        for (unsigned lane = 0; lane < kWarp; ++lane) lanes[lane] = first[lane].argument;
        perform(lanes);
    });
}

void copy_async(void* to, const void* from, size_t bytes) {
    require_aligned(to, bytes, "cp.async");
    if (from != nullptr) require_aligned(from, bytes, "cp.async");
    std::memset(to, 0xFF, bytes);
    scheduler.running->batches.back().push_back({to, from, bytes});
}

void copy_async_commit() { scheduler.running->batches.emplace_back(); }

void copy_async_wait(size_t pending) {
    auto& batches = scheduler.running->batches;
    while (batches.size() > pending + 1) {
        for (const Copy& copy : batches.front()) {
            if (copy.from != nullptr) {
                std::memcpy(copy.to, copy.from, copy.bytes);
            } else {
                std::memset(copy.to, 0, copy.bytes);
            }
        }
        batches.pop_front();
    }
}

void require_aligned(const void* address, size_t bytes, const char* instruction) {
    if (reinterpret_cast<uintptr_t>(address) % bytes != 0) fail("a misaligned address at %s%s", instruction);
}

}  // namespace glic_emulator
