#include "isa.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "arm64.h"
#include "kernel.h"

namespace glic {
namespace {

struct Set {
    const char* name;
    bool (*available)();
};

bool always() { return true; }

#if defined(GLIC_X86_KERNELS)
bool has_avx2() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
bool has_avx512() { return has_avx2() && __builtin_cpu_supports("avx512f"); }
#endif

// In the order of Isa.
constexpr Set kSets[kIsas] = {
    {"portable", always},
#if defined(GLIC_X86_KERNELS)
    {"avx2", has_avx2},
    {"avx512", has_avx512},
#elif defined(GLIC_ARM64_KERNELS)
    {"neon", always},
    {"neondotprod", has_dotprod},
    {"neoni8mm", has_i8mm},
#endif
};

// The available set of this name; false where there is none.
bool find(const char* name, Isa* found) {
    for (size_t i = 0; i < kIsas; ++i) {
        if (std::strcmp(name, kSets[i].name) == 0 && kSets[i].available()) {
            *found = static_cast<Isa>(i);
            return true;
        }
    }
    return false;
}

Isa initial() {
    Isa isa;
    const char* forced = std::getenv("GLIC_ISA");
    if (forced != nullptr && find(forced, &isa)) return isa;
    size_t best = kIsas - 1;
    while (!kSets[best].available()) --best;
    return static_cast<Isa>(best);
}

std::atomic<Isa>& selection() {
    static std::atomic<Isa> isa{initial()};
    return isa;
}

}  // namespace

bool has_vnni() {
#if defined(GLIC_X86_KERNELS)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#else
    return false;
#endif
}

bool has_bfloat16() {
#if defined(GLIC_X86_KERNELS)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

Isa selected_isa() { return selection().load(std::memory_order_relaxed); }

}  // namespace glic

int glic_select_isa(const char* name) {
    glic::Isa isa;
    if (!glic::find(name, &isa)) return GLIC_INVALID;
    glic::selection().store(isa, std::memory_order_relaxed);
    return GLIC_OK;
}

const char* glic_selected_isa(void) { return glic::kSets[static_cast<size_t>(glic::selected_isa())].name; }
