// Run-time choice between the builds of a kernel for different instruction sets.
#ifndef GLIC_COMMON_ISA_H
#define GLIC_COMMON_ISA_H

namespace glic {

enum class Isa { kPortable, kAvx2, kAvx512 };

// What glic_select_isa, GLIC_ISA or the processor says.
Isa selected_isa();

// The build of a kernel's function for the selected instructions; the others exist only on processors that
// may have them.
#if defined(GLIC_X86_KERNELS)
#define GLIC_SELECTED(function)                                          \
    (glic::selected_isa() == glic::Isa::kAvx512 ? glic::avx512::function \
     : glic::selected_isa() == glic::Isa::kAvx2 ? glic::avx2::function   \
                                                : glic::portable::function)
#else
#define GLIC_SELECTED(function) glic::portable::function
#endif

}  // namespace glic

#endif
