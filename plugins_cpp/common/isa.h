// The run-time choice between the builds of a kernel for different instruction sets.
//
// ops.cmake compiles cpu/kernel.cpp of an op's folder once for each instruction set, with GLIC_SIMD defined
// as the set's name. GLIC_SIMD is also the namespace of the build.
#ifndef GLIC_COMMON_ISA_H
#define GLIC_COMMON_ISA_H

#include <cstddef>

#include "tasks.h"

namespace glic {

// The instruction sets of this architecture that glic_select_isa and GLIC_ISA name, from the slowest on.
#if defined(GLIC_X86_KERNELS)
enum class Isa { kPortable, kAvx2, kAvx512 };
constexpr size_t kIsas = 3;
#elif defined(GLIC_ARM64_KERNELS)
enum class Isa { kPortable, kNeon, kNeonDotprod, kNeonI8mm };
constexpr size_t kIsas = 4;
#else
enum class Isa { kPortable };
constexpr size_t kIsas = 1;
#endif

// The instruction set that glic_select_isa, GLIC_ISA or the processor selects.
Isa selected_isa();

// Whether an x86-64 processor has AVX-512's products of int16, or of bfloat16, and what else a build for them
// uses.
bool has_vnni();
bool has_bfloat16();

// The element for the selected instruction set, of one for each in the order of Isa.
template <typename Build>
Build selected_build(const Build (&builds)[kIsas]) {
    return builds[static_cast<size_t>(selected_isa())];
}

}  // namespace glic

// Puts a declaration into the namespace of each instruction set. Stands in namespace glic.
#define GLIC_DECLARE_IN(isa, ...) \
    namespace isa {               \
    __VA_ARGS__;                  \
    }
#define GLIC_DECLARE_BUILDS(...)              \
    GLIC_DECLARE_IN(portable, __VA_ARGS__)    \
    GLIC_DECLARE_IN(avx2, __VA_ARGS__)        \
    GLIC_DECLARE_IN(avx512, __VA_ARGS__)      \
    GLIC_DECLARE_IN(avx512vnni, __VA_ARGS__)  \
    GLIC_DECLARE_IN(avx512bf16, __VA_ARGS__)  \
    GLIC_DECLARE_IN(neon, __VA_ARGS__)        \
    GLIC_DECLARE_IN(neondotprod, __VA_ARGS__) \
    GLIC_DECLARE_IN(neoni8mm, __VA_ARGS__)

// Declares the builds of a task. Stands in namespace glic.
#define GLIC_DECLARE_TASK(task) \
    GLIC_DECLARE_BUILDS(void task(const void* problem, size_t index, void* scratch))

// The build of `name` for the selected instruction set. GLIC_SELECTED: of a kernel of floats, which is built
// for portable, avx2, avx512 and neon. GLIC_SELECTED_BFLOAT16: of one of bfloat16's products, which is built
// for avx512bf16 too. GLIC_SELECTED_INTEGER: of one of integers, which is built for portable, avx2,
// avx512vnni, neon, neondotprod and neoni8mm. Each processor has the builds of its own architecture.
#if defined(GLIC_X86_KERNELS)
#define GLIC_SELECTED(name) glic::selected_build({glic::portable::name, glic::avx2::name, glic::avx512::name})
#define GLIC_SELECTED_BFLOAT16(name)                              \
    glic::selected_build({glic::portable::name, glic::avx2::name, \
                          glic::has_bfloat16() ? glic::avx512bf16::name : glic::avx512::name})
#define GLIC_SELECTED_INTEGER(name)                               \
    glic::selected_build({glic::portable::name, glic::avx2::name, \
                          glic::has_vnni() ? glic::avx512vnni::name : glic::avx2::name})
#elif defined(GLIC_ARM64_KERNELS)
#define GLIC_SELECTED(name) \
    glic::selected_build({glic::portable::name, glic::neon::name, glic::neon::name, glic::neon::name})
#define GLIC_SELECTED_BFLOAT16(name) GLIC_SELECTED(name)
#define GLIC_SELECTED_INTEGER(name) \
    glic::selected_build(           \
        {glic::portable::name, glic::neon::name, glic::neondotprod::name, glic::neoni8mm::name})
#else
#define GLIC_SELECTED(name) glic::portable::name
#define GLIC_SELECTED_BFLOAT16(name) glic::portable::name
#define GLIC_SELECTED_INTEGER(name) glic::portable::name
#endif

#endif
