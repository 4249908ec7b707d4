#include "system_memory.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <sys/mman.h>
#endif

namespace glic {

#if defined(_WIN32)

void* reserve_pages(size_t size) { return VirtualAlloc(nullptr, size, MEM_RESERVE, PAGE_READWRITE); }
bool commit_pages(void* start, size_t size) {
    return VirtualAlloc(start, size, MEM_COMMIT, PAGE_READWRITE) != nullptr;
}
void discard_pages(void* start, size_t size) { VirtualFree(start, size, MEM_DECOMMIT); }
void prefer_huge_pages(void*, size_t) {}
void release_pages(void* start, size_t) { VirtualFree(start, 0, MEM_RELEASE); }

#else

void* reserve_pages(size_t size) {
    void* start =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return start == MAP_FAILED ? nullptr : start;
}
bool commit_pages(void*, size_t) { return true; }
void discard_pages(void* start, size_t size) { madvise(start, size, MADV_DONTNEED); }
void prefer_huge_pages([[maybe_unused]] void* start, [[maybe_unused]] size_t size) {
#if defined(MADV_HUGEPAGE)
    madvise(start, size, MADV_HUGEPAGE);
#endif
}
void release_pages(void* start, size_t size) { munmap(start, size); }

#endif

}  // namespace glic
