// What __builtin_cpu_supports reads on x86-64, for libraries that zig links: the runtime library of its compiler has
// these names too, but reports no instruction set at all. Bits are numbered as in GCC's libgcc and LLVM's compiler-rt.
#include <cpuid.h>

extern "C" {

#pragma GCC visibility push(hidden)

struct {
    unsigned vendor, type, subtype, features[1];
} __cpu_model;
unsigned __cpu_features2[4];

int __attribute__((constructor(101))) __cpu_indicator_init(void) {
    unsigned eax = 0, leaf_1, ebx_7 = 0, ecx_7 = 0, eax_71 = 0, ignored, low, high;
    if (__cpu_model.features[0] != 0 || !__get_cpuid(1, &eax, &ignored, &leaf_1, &ignored)) return 0;
    __get_cpuid_count(7, 0, &eax, &ebx_7, &ecx_7, &ignored);
    if (eax >= 1) __get_cpuid_count(7, 1, &eax_71, &ignored, &ignored, &ignored);
    unsigned saved = 0;  // the registers that the operating system saves
    if (leaf_1 >> 27 & 1) {
        __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        saved = low;
    }
    const bool avx = (saved & 0x06) == 0x06, avx512 = (saved & 0xe6) == 0xe6;
    const auto set = [](unsigned bit, bool there) {
        unsigned* words = bit < 32 ? __cpu_model.features : __cpu_features2 - 1;
        words[bit / 32] |= static_cast<unsigned>(there) << bit % 32;
    };
    set(2, leaf_1 >> 23 & 1);            // popcnt
    set(3, true);                        // sse
    set(4, true);                        // sse2
    set(5, leaf_1 & 1);                  // sse3
    set(6, leaf_1 >> 9 & 1);             // ssse3
    set(7, leaf_1 >> 19 & 1);            // sse4.1
    set(8, leaf_1 >> 20 & 1);            // sse4.2
    set(9, avx && (leaf_1 >> 28 & 1));   // avx
    set(10, avx && (ebx_7 >> 5 & 1));    // avx2
    set(14, avx && (leaf_1 >> 12 & 1));  // fma
    set(15, avx512 && (ebx_7 >> 16 & 1));  // avx512f
    set(16, ebx_7 >> 3 & 1);               // bmi
    set(17, ebx_7 >> 8 & 1);               // bmi2
    set(20, avx512 && (ebx_7 >> 31 & 1));  // avx512vl
    set(21, avx512 && (ebx_7 >> 30 & 1));  // avx512bw
    set(22, avx512 && (ebx_7 >> 17 & 1));  // avx512dq
    set(34, avx512 && (ecx_7 >> 11 & 1));  // avx512vnni
    set(36, avx512 && (eax_71 >> 5 & 1));  // avx512bf16
    set(49, avx && (leaf_1 >> 29 & 1));    // f16c
    return 0;
}

#pragma GCC visibility pop
}
