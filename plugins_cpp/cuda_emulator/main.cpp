// emulate_kernels OP SAMPLING ELEMENT ORDER N H W C HEADS: the op's inputs as raw arrays from standard input,
// one after another, its result to standard output. ELEMENT: as in kernel.h; ORDER: 1 lets threads take turns
// from the last to the first; HEADS: 0 for DynamicKnn. Arrays are allocated to the byte, so that a sanitizer
// sees every access beside them.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "../dynamic_knn/dynamic_knn_cuda.h"
#include "../scatter_aggregate/scatter_aggregate_cuda.h"
#include "emulator.h"

namespace {

template <typename T = void>
class Array {
  public:
    explicit Array(int64_t bytes) : bytes_(static_cast<size_t>(bytes)), data_(std::malloc(bytes_)) {
        std::memset(data_, 0xFF, bytes_);
    }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    ~Array() { std::free(data_); }

    Array& read() {
        if (std::fread(data_, 1, bytes_, stdin) != bytes_) std::exit(2);
        return *this;
    }
    void write() const { std::fwrite(data_, 1, bytes_, stdout); }
    T* get() { return static_cast<T*>(data_); }

  private:
    size_t bytes_;
    void* data_;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 10) return 2;
    int64_t numbers[8];
    for (int i = 0; i < 8; ++i) numbers[i] = std::strtoll(argv[i + 2], nullptr, 10);
    const auto [sampling, element, order, n, h, w, c, heads] = numbers;
    glic_emulator::set_reversed(order == 1);
    const int64_t nodes = n * h * w, element_bytes = element == GLIC_FLOAT32 ? 4 : 2;
    const auto kind = static_cast<int32_t>(element), attribute = static_cast<int32_t>(sampling);
    Array<int32_t> graph(nodes * 32);  // 8 words a node
    Array<> x(nodes * c * element_bytes);
    x.read();
    int result = 0;
    if (std::strcmp(argv[1], "dynamic_knn") == 0) {
        Array<float> complexity(nodes * 4);
        const glic_dynamic_knn_size size{n, h, w, c, attribute};
        result = glic_dynamic_knn_cuda(&size, kind, x.get(), complexity.read().get(), graph.get(), nullptr);
        graph.write();
    } else {
        Array<> kv(nodes * 2 * c * element_bytes), out(nodes * c * element_bytes);
        Array<float> bias(heads * 64 * 256 * 4), scale(heads * 4);
        kv.read();
        graph.read();
        bias.read();
        scale.read();
        const glic_scatter_aggregate_size size{n, h, w, c, heads, attribute};
        result = glic_scatter_aggregate_cuda(&size, kind, x.get(), kv.get(), graph.get(), bias.get(),
                                             scale.get(), out.get(), nullptr);
        out.write();
    }
    return result == 0 ? 0 : 10 + result;
}
