#include "../../common/simd_avx512.h"
// The instruction set comes first.
#include "kernel.inl"
