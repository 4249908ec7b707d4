#include "isa.h"

#include "cpu_features.h"

namespace rans {
namespace {

struct Path {
    rans_isa isa;
    const Kernels* kernels;
};

// From the slowest to the fastest.
constexpr Path kPaths[] = {
    {RANS_ISA_SCALAR, &scalar_kernels},
#if defined(RANS_X86)
    {RANS_ISA_AVX2, &avx2_kernels},
    {RANS_ISA_AVX512, &avx512_kernels},
#elif defined(RANS_ARM64)
    {RANS_ISA_NEON, &neon_kernels},
#endif
};

uint32_t cpu_features() {
    uint32_t features = 0;
#if defined(RANS_X86)
    if (__builtin_cpu_supports("popcnt")) features |= kPopcnt;
    if (__builtin_cpu_supports("avx2")) features |= kAvx2;
    if (__builtin_cpu_supports("fma")) features |= kFma;
    if (__builtin_cpu_supports("bmi")) features |= kBmi;
    if (__builtin_cpu_supports("bmi2")) features |= kBmi2;
    if (__builtin_cpu_supports("avx512f")) features |= kAvx512f;
    if (__builtin_cpu_supports("avx512bw")) features |= kAvx512bw;
    if (__builtin_cpu_supports("avx512dq")) features |= kAvx512dq;
    if (__builtin_cpu_supports("avx512vl")) features |= kAvx512vl;
#endif
    return features;
}

}  // namespace

const Kernels* kernels_for(rans_isa isa) {
    const uint32_t features = cpu_features();
    const Kernels* found = nullptr;
    for (const Path& path : kPaths)
        if ((isa == RANS_ISA_BEST || isa == path.isa) && (path.kernels->features & ~features) == 0)
            found = path.kernels;
    return found;
}

}  // namespace rans

extern "C" rans_status rans_isa_check(rans_isa isa) {
    return rans::kernels_for(isa) ? RANS_OK : RANS_UNSUPPORTED;
}
