// How many blocks of a kernel a device runs at a time, asked of CUDA once.
#ifndef GLIC_COMMON_CUDA_BLOCKS_AT_ONCE_CUH
#define GLIC_COMMON_CUDA_BLOCKS_AT_ONCE_CUH

#include <cuda_runtime.h>

#include <atomic>

namespace glic {

// The number of blocks of one kernel that a device runs at a time. The first `get` on a device also lets the
// kernel have its shared memory there; later ones ask CUDA only for the device. Objects are static: one for
// each kernel.
class BlocksAtOnce {
  public:
    template <typename Kernel>
    cudaError_t get(Kernel kernel, int threads, int shared_bytes, int* blocks) {
        int device = 0;
        cudaError_t result = cudaGetDevice(&device);
        if (result != cudaSuccess) return result;
        std::atomic<int>* known = device < kDevices ? &known_[device] : nullptr;
        *blocks = known == nullptr ? 0 : known->load(std::memory_order_acquire);
        if (*blocks != 0) return cudaSuccess;
        int processors = 0, each = 0;
        result = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                      cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
        if (result == cudaSuccess) {
            result = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
        }
        if (result == cudaSuccess) {
            result = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, threads, shared_bytes);
        }
        if (result != cudaSuccess) return result;
        *blocks = processors * each;
        if (known != nullptr) known->store(*blocks, std::memory_order_release);
        return cudaSuccess;
    }

  private:
    static constexpr int kDevices = 64;
    std::atomic<int> known_[kDevices] = {};
};

}  // namespace glic

#endif
