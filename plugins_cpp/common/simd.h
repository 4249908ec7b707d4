// Vectors of floats for the instruction set that a kernel is compiled for. A kernel includes this first.
#ifndef GLIC_COMMON_SIMD_H
#define GLIC_COMMON_SIMD_H

#include "target.h"

#include GLIC_TARGET_HEADER(simd)

#endif
