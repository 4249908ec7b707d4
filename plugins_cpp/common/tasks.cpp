#include "tasks.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>

#include "system_memory.h"

namespace glic {
namespace {

struct Work {
    std::atomic<size_t> next;
    std::atomic<bool> out_of_memory;
    size_t count;
    size_t scratch_bytes;
    Task task;
    const void* problem;
};

struct Free {
    void operator()(void* memory) const { free_aligned(memory); }
};

// Takes tasks until none is left. A lane that comes too late allocates nothing.
void run_lane(void* argument, size_t) {
    Work& work = *static_cast<Work*>(argument);
    std::unique_ptr<void, Free> scratch;
    for (size_t i; !work.out_of_memory && (i = work.next.fetch_add(1)) < work.count;) {
        if (!scratch) {
            scratch.reset(allocate_aligned(work.scratch_bytes + 64));
            if (!scratch) {
                work.out_of_memory = true;
                return;
            }
        }
        work.task(work.problem, i, scratch.get());
    }
}

}  // namespace

int run_tasks(const glic_parallel* parallel, size_t count, size_t scratch_bytes, Task task,
              const void* problem) {
    Work work{{0}, {false}, count, scratch_bytes, task, problem};
    const size_t lanes = parallel == nullptr ? 1 : std::min(parallel->lanes, count);
    if (lanes <= 1) {
        run_lane(&work, 0);
    } else {
        parallel->run(parallel->context, lanes, run_lane, &work);
    }
    return work.out_of_memory ? GLIC_NO_MEMORY : GLIC_OK;
}

size_t task_count(int64_t items, int64_t each, std::initializer_list<int64_t> other_sides) {
    if (std::count(other_sides.begin(), other_sides.end(), 0) != 0) return 0;
    return static_cast<size_t>(divided(items, each));
}

}  // namespace glic
