// Which optional instructions an ARM64 processor has. NEON itself is part of the architecture.
#ifndef GLIC_COMMON_ARM64_H
#define GLIC_COMMON_ARM64_H

#if defined(__aarch64__)

#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>

#include <cstddef>
#endif

namespace glic {

#if defined(__linux__)
// Bits of the kernel's interface, which older headers do not name.
inline bool has_dotprod() { return (getauxval(AT_HWCAP) & 1ul << 20) != 0; }                 // HWCAP_ASIMDDP
inline bool has_i8mm() { return has_dotprod() && (getauxval(AT_HWCAP2) & 1ul << 13) != 0; }  // HWCAP2_I8MM
#elif defined(__APPLE__)
inline bool has_feature(const char* name) {
    int value = 0;
    size_t size = sizeof(value);
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}
inline bool has_dotprod() { return has_feature("hw.optional.arm.FEAT_DotProd"); }
inline bool has_i8mm() { return has_dotprod() && has_feature("hw.optional.arm.FEAT_I8MM"); }
#else
inline bool has_dotprod() { return false; }
inline bool has_i8mm() { return false; }
#endif

}  // namespace glic

#endif

#endif
