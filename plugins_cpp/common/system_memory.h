// Memory from the system: whole pages of address space, and blocks aligned to a cache line.
#ifndef GLIC_COMMON_SYSTEM_MEMORY_H
#define GLIC_COMMON_SYSTEM_MEMORY_H

#include <cstddef>
#include <new>

namespace glic {

// Address space; nullptr where the system grants none. Its pages must be committed before use.
void* reserve_pages(size_t size);
// Makes pages usable; false where memory is short. Only Windows does this before the first touch.
bool commit_pages(void* start, size_t size);
// Gives the memory of pages back; their content is lost.
void discard_pages(void* start, size_t size);
// Asks for large pages.
void prefer_huge_pages(void* start, size_t size);
// Gives address space back, whole.
void release_pages(void* start, size_t size);

constexpr std::align_val_t kCacheLine{64};

// `size` bytes, for free_aligned; nullptr where memory is short.
inline void* allocate_aligned(size_t size) { return ::operator new(size, kCacheLine, std::nothrow); }
inline void free_aligned(void* memory) { ::operator delete(memory, kCacheLine); }

}  // namespace glic

#endif
