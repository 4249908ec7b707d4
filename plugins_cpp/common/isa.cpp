#include "isa.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "kernel.h"

namespace glic {
namespace {

constexpr const char* kNames[] = {"portable", "avx2", "avx512"};

bool available(Isa isa) {
#if defined(GLIC_X86_KERNELS)
    __builtin_cpu_init();
    const bool avx2 =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    switch (isa) {
        case Isa::kAvx512:
            return avx2 && __builtin_cpu_supports("avx512f");
        case Isa::kAvx2:
            return avx2;
        case Isa::kPortable:
            return true;
    }
#endif
    return isa == Isa::kPortable;
}

// The available set of this name; false where there is none.
bool find(const char* name, Isa* found) {
    for (const Isa isa : {Isa::kAvx512, Isa::kAvx2, Isa::kPortable}) {
        if (std::strcmp(name, kNames[static_cast<int>(isa)]) == 0 && available(isa)) {
            *found = isa;
            return true;
        }
    }
    return false;
}

Isa initial() {
    Isa isa;
    const char* forced = std::getenv("GLIC_ISA");
    if (forced != nullptr && find(forced, &isa)) return isa;
    for (const Isa best : {Isa::kAvx512, Isa::kAvx2}) {
        if (available(best)) return best;
    }
    return Isa::kPortable;
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

Isa selected_isa() { return selection().load(std::memory_order_relaxed); }

Task selected_build(Task portable, Task avx2, Task avx512) {
    const Isa isa = selected_isa();
    return isa == Isa::kAvx512 ? avx512 : isa == Isa::kAvx2 ? avx2 : portable;
}

}  // namespace glic

int glic_select_isa(const char* name) {
    glic::Isa isa;
    if (!glic::find(name, &isa)) return GLIC_INVALID;
    glic::selection().store(isa, std::memory_order_relaxed);
    return GLIC_OK;
}

const char* glic_selected_isa(void) { return glic::kNames[static_cast<int>(glic::selected_isa())]; }
