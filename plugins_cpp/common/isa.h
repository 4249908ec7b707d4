// Run-time choice between the builds of a kernel for different instruction sets.
#ifndef GLIC_COMMON_ISA_H
#define GLIC_COMMON_ISA_H

namespace glic {

enum class Isa { kPortable, kAvx2, kAvx512 };

// What glic_select_isa, GLIC_ISA or the processor says.
Isa selected_isa();

}  // namespace glic

#endif
