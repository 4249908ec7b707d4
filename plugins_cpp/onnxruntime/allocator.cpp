// Where onnxruntime gets a CPU session's maps from: `session.use_env_allocators` makes a session use it.
#include <cstdint>
#include <cstdlib>

#include "../common/map_memory.h"
#include "custom_op.h"

namespace glic {
namespace {

constexpr size_t kReserved = sizeof(void*) == 8 ? size_t{1} << 38 : size_t{1} << 30;
constexpr size_t kKept = size_t{1} << 30;
// Smaller blocks are the C library's, which keeps those well. With AddressSanitizer all are: it guards their
// ends.
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kLeast = SIZE_MAX;
#else
constexpr size_t kLeast = size_t{1} << 18;
#endif

struct Allocator : OrtAllocator {
    glic_map_memory* memory;
    OrtMemoryInfo* info;

    static void* ORT_API_CALL plain(OrtAllocator*, size_t size) {
        void* block = nullptr;
        return size != 0 && posix_memalign(&block, 64, size) == 0 ? block : nullptr;
    }

    static void* ORT_API_CALL allocate(OrtAllocator* self, size_t size) {
        if (size >= kLeast) {
            if (void* block = glic_map_memory_take(static_cast<Allocator*>(self)->memory, size)) return block;
        }
        return plain(self, size);
    }

    static void ORT_API_CALL release(OrtAllocator* self, void* block) {
        if (!glic_map_memory_give_back(static_cast<Allocator*>(self)->memory, block)) std::free(block);
    }

    static const OrtMemoryInfo* ORT_API_CALL describe(const OrtAllocator* self) {
        return static_cast<const Allocator*>(self)->info;
    }
};

}  // namespace

void register_map_memory() {
    // Sessions may outlive any owner in reach: the process keeps all of it.
    static Allocator allocator{};
    OrtEnv* env = nullptr;
    allocator.memory = glic_map_memory_open(kReserved, kKept);
    if (allocator.memory == nullptr) return;
    allocator.version = kApiVersion;
    allocator.Alloc = Allocator::allocate;
    allocator.Free = Allocator::release;
    allocator.Info = Allocator::describe;
    allocator.Reserve = Allocator::plain;  // weights, which stay
    OrtStatus* status = api()->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &allocator.info);
    if (!status) status = api()->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "glic", &env);
    if (!status) status = api()->RegisterAllocator(env, &allocator);
    // A program that registered an allocator of its own keeps that one.
    api()->ReleaseStatus(status);
}

}  // namespace glic
