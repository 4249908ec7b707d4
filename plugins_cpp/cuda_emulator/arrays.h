// Arrays of the emulator's program, allocated to the byte, so that a sanitizer sees every access beside them.
#ifndef GLIC_CUDA_EMULATOR_ARRAYS_H
#define GLIC_CUDA_EMULATOR_ARRAYS_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace glic_emulator {

template <typename T = unsigned char>
class Array {
  public:
    explicit Array(int64_t count)
        : bytes_(static_cast<size_t>(count) * sizeof(T)), data_(static_cast<T*>(std::malloc(bytes_))) {
        std::memset(data_, 0xFF, bytes_);
    }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    ~Array() { std::free(data_); }

    // Fills the array from standard input.
    T* read() {
        if (std::fread(data_, 1, bytes_, stdin) != bytes_) std::exit(2);
        return data_;
    }
    void write() const { std::fwrite(data_, 1, bytes_, stdout); }
    T* get() { return data_; }

  private:
    size_t bytes_;
    T* data_;
};

}  // namespace glic_emulator

#endif
