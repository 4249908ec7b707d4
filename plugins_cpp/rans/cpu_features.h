// The instructions that the compiler may use in the source file that includes this header, from its flags.
#ifndef RANS_CPU_FEATURES_H
#define RANS_CPU_FEATURES_H

#include <cstdint>

namespace rans {

enum Feature : uint32_t {
    kPopcnt = 1 << 0,
    kAvx2 = 1 << 1,
    kFma = 1 << 2,
    kBmi = 1 << 3,
    kBmi2 = 1 << 4,
    kAvx512f = 1 << 5,
    kAvx512bw = 1 << 6,
    kAvx512dq = 1 << 7,
    kAvx512vl = 1 << 8,
};

// A constant, so that the check itself runs no code of a file that the CPU may be unable to run.
constexpr uint32_t kCompiledFeatures = 0
#if defined(__POPCNT__)
                                       | kPopcnt
#endif
#if defined(__AVX2__)
                                       | kAvx2
#endif
#if defined(__FMA__)
                                       | kFma
#endif
#if defined(__BMI__)
                                       | kBmi
#endif
#if defined(__BMI2__)
                                       | kBmi2
#endif
#if defined(__AVX512F__)
                                       | kAvx512f
#endif
#if defined(__AVX512BW__)
                                       | kAvx512bw
#endif
#if defined(__AVX512DQ__)
                                       | kAvx512dq
#endif
#if defined(__AVX512VL__)
                                       | kAvx512vl
#endif
    ;

}  // namespace rans

#endif
