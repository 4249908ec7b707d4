// Runs a kernel's independent tasks on the threads of whoever calls it.
#ifndef GLIC_COMMON_TASKS_H
#define GLIC_COMMON_TASKS_H

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "kernel.h"

namespace glic {

// One task; scratch is `scratch_bytes` of memory aligned to 64 that no other task uses meanwhile.
using Task = void (*)(const void* problem, size_t index, void* scratch);

// Calls task(problem, i, scratch) for each i < count. Scratch is allocated once per thread that takes part.
// Without `parallel` all runs in the calling thread. Returns GLIC_OK or GLIC_NO_MEMORY.
int run_tasks(const glic_parallel* parallel, size_t count, size_t scratch_bytes, Task task,
              const void* problem);

// How many parts of `size` a whole has, the last of which may be smaller.
constexpr int64_t divided(int64_t whole, int64_t size) { return (whole + size - 1) / size; }

// How many tasks of `each` items there are. None where one of the other sides of the map is 0, however many
// items there are: there is nothing to compute.
size_t task_count(int64_t items, int64_t each, std::initializer_list<int64_t> other_sides);

}  // namespace glic

#endif
