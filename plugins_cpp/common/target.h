// The name of a header for the instruction set that a kernel is compiled for: GLIC_TARGET_HEADER(simd) is
// "simd_avx2.h" where the build defines GLIC_SIMD as avx2.
#ifndef GLIC_COMMON_TARGET_H
#define GLIC_COMMON_TARGET_H

#define GLIC_QUOTE(text) #text
#define GLIC_HEADER_OF(name, isa) GLIC_QUOTE(name##_##isa.h)
#define GLIC_EXPANDED_HEADER(name, isa) GLIC_HEADER_OF(name, isa)
#define GLIC_TARGET_HEADER(name) GLIC_EXPANDED_HEADER(name, GLIC_SIMD)

#endif
