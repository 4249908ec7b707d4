#include "../../common/simd_portable.h"
// The instruction set comes first.
#include "kernel.inl"
