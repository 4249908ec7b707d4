#ifndef RANS_ISA_H
#define RANS_ISA_H

#include "kernels.h"
#include "rans.h"

namespace rans {

// The kernels of an instruction set, or of the best one that this CPU has; null when it lacks that one.
const Kernels* kernels_for(rans_isa isa);

}  // namespace rans

#endif
