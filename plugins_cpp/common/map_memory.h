/* Memory for a network's maps: blocks of many MiB that live for a few operations each, over and over.

   Fresh memory from the system costs a page fault for every 4 KiB; a map that is written once and read once
   spends as much time there as in arithmetic. This keeps what was used, packs it tightly, and asks for pages
   of 2 MiB. */
#ifndef GLIC_COMMON_MAP_MEMORY_H
#define GLIC_COMMON_MAP_MEMORY_H

#include "kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct glic_map_memory glic_map_memory;

typedef struct {
    size_t in_use;  /* bytes in blocks that are taken */
    size_t touched; /* bytes from the start to the end of the last page that may be resident */
} glic_map_memory_use;

/* Address space for `reserved` bytes of blocks. Once all but a little is given back, at most `kept` bytes
   stay resident. NULL where the system grants no address space. */
GLIC_API glic_map_memory* glic_map_memory_open(size_t reserved, size_t kept);

/* `size` bytes, aligned to a page; NULL where no gap is large enough. Any thread may call it, as the next. */
GLIC_API void* glic_map_memory_take(glic_map_memory* memory, size_t size);

/* Whether it was a block from here; then it is given back. */
GLIC_API int glic_map_memory_give_back(glic_map_memory* memory, void* block);

GLIC_API glic_map_memory_use glic_map_memory_used(glic_map_memory* memory);

/* All blocks are gone with it. */
GLIC_API void glic_map_memory_close(glic_map_memory* memory);

#ifdef __cplusplus
}
#endif

#endif
