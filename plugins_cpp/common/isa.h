// The run-time choice between the builds of a kernel for different instruction sets.
//
// ops.cmake compiles cpu/kernel.cpp of an op's folder once for each instruction set, with GLIC_SIMD defined
// as the set's name. GLIC_SIMD is also the namespace of the build.
#ifndef GLIC_COMMON_ISA_H
#define GLIC_COMMON_ISA_H

#include "tasks.h"

namespace glic {

enum class Isa { kPortable, kAvx2, kAvx512 };

// The instruction set that glic_select_isa, GLIC_ISA or the processor selects.
Isa selected_isa();

// Whether the processor has AVX-512's products of int16, and what else a build for them uses.
bool has_vnni();

// The build of a task for the selected instruction set.
Task selected_build(Task portable, Task avx2, Task avx512);

}  // namespace glic

// Declares the builds of a task. Stands in namespace glic.
#define GLIC_DECLARE_BUILD(isa, task)                            \
    namespace isa {                                              \
    void task(const void* problem, size_t index, void* scratch); \
    }
#define GLIC_DECLARE_TASK(task)        \
    GLIC_DECLARE_BUILD(portable, task) \
    GLIC_DECLARE_BUILD(avx2, task)     \
    GLIC_DECLARE_BUILD(avx512, task)   \
    GLIC_DECLARE_BUILD(avx512vnni, task)

// The build of a task for the selected instruction set, of a kernel that is built for avx512, avx2 and
// portable, or for avx512vnni, avx2 and portable. Only the portable build exists on processors other than
// x86-64.
#if defined(GLIC_X86_KERNELS)
#define GLIC_SELECTED(task) glic::selected_build(glic::portable::task, glic::avx2::task, glic::avx512::task)
#define GLIC_SELECTED_VNNI(task)                                 \
    glic::selected_build(glic::portable::task, glic::avx2::task, \
                         glic::has_vnni() ? glic::avx512vnni::task : glic::avx2::task)
#else
#define GLIC_SELECTED(task) glic::portable::task
#define GLIC_SELECTED_VNNI(task) glic::portable::task
#endif

#endif
