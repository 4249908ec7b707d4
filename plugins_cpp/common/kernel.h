/* What the plain C interfaces of the op kernels share: shapes, element types, results, threads. */
#ifndef GLIC_COMMON_KERNEL_H
#define GLIC_COMMON_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define GLIC_API __attribute__((visibility("default")))
#else
#define GLIC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { GLIC_OK = 0, GLIC_INVALID = 1, GLIC_NO_MEMORY = 2 };
enum { GLIC_LOCAL = 0, GLIC_GLOBAL = 1 };
enum { GLIC_FLOAT32 = 0, GLIC_FLOAT16 = 1, GLIC_BFLOAT16 = 2 };

/* A message of the check functions, zero-terminated. */
enum { GLIC_MESSAGE_SIZE = 320 };

typedef struct {
    const int64_t* dims;
    size_t rank;
} glic_shape;

/* How a kernel gets threads: `run` calls body(argument, i) once for each i < count, on any threads in any
   order, and returns when all calls have. More bodies than `lanes` at a time are of no use. */
typedef struct {
    void* context;
    size_t lanes;
    void (*run)(void* context, size_t count, void (*body)(void* argument, size_t index), void* argument);
} glic_parallel;

/* Which instructions the kernels use: "portable"; on x86-64 also "avx2" and "avx512"; on ARM64 also "neon",
   "neondotprod" and "neoni8mm". The best that the processor has, unless the environment variable GLIC_ISA or
   this call says otherwise. Returns GLIC_INVALID, and changes nothing, where the name is unknown or the
   processor or the build lacks it; such a GLIC_ISA is ignored. */
GLIC_API int glic_select_isa(const char* name);

/* The name of the selected instructions. */
GLIC_API const char* glic_selected_isa(void);

#ifdef __cplusplus
}
#endif

#endif
