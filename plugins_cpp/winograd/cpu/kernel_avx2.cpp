#include "../../common/simd_avx2.h"
// The instruction set comes first.
#include "kernel.inl"
