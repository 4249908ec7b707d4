#ifndef RANS_ISA_H
#define RANS_ISA_H

#include "kernels.h"
#include "rans.h"

namespace rans {

// Returns the kernels of an instruction set, or of the best one for this CPU; null if the CPU cannot run
// them.
const Kernels* kernels_for(rans_isa isa);

}  // namespace rans

#endif
