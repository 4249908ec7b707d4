#include "isa.h"

namespace rans {

const Kernels* kernels_for(rans_isa isa) {
#if defined(RANS_X86)
    const bool avx2 = __builtin_cpu_supports("avx2");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (isa == RANS_ISA_BEST) isa = avx512 ? RANS_ISA_AVX512 : avx2 ? RANS_ISA_AVX2 : RANS_ISA_SCALAR;
    if (isa == RANS_ISA_AVX2 && avx2) return &avx2_kernels;
    if (isa == RANS_ISA_AVX512 && avx512) return &avx512_kernels;
#else
    if (isa == RANS_ISA_BEST) isa = RANS_ISA_SCALAR;
#endif
    return isa == RANS_ISA_SCALAR ? &scalar_kernels : nullptr;
}

}  // namespace rans

extern "C" rans_status rans_isa_check(rans_isa isa) {
    return rans::kernels_for(isa) ? RANS_OK : RANS_UNSUPPORTED;
}
