#include "product.h"

#include <cstring>
#include <new>

#include "bfloat16.h"
#include "system_memory.h"

namespace glic {
namespace {

template <typename T>
T rounded(float value);
template <>
float rounded(float value) {
    return value;
}
template <>
Bfloat16 rounded(float value) {
    return to_bfloat16(value);
}

template <typename T>
void pack(const float* weight, int64_t inputs, int64_t outputs, int64_t stride, int64_t depth,
          const ProductPacking& packing, T* packed) {
    for (int64_t k = 0; k < inputs; ++k) {
        for (int64_t j = 0; j < outputs; ++j) {
            const int64_t panel = j / packing.columns, column = j % packing.columns;
            const int64_t row = panel * depth + k / packing.group * packing.group;
            packed[row * packing.columns + column * packing.group + k % packing.group] =
                rounded<T>(weight[k * stride + j]);
        }
    }
}

}  // namespace

void ProductWeights::Free::operator()(void* memory) const { free_aligned(memory); }

ProductWeights::ProductWeights(const float* weight, int64_t inputs, int64_t outputs, int64_t stride,
                               const ProductPacking& packing)
    : packing_(packing), inputs_(inputs), outputs_(outputs) {
    const size_t size = static_cast<size_t>(depth() * width()) * element_size(packing.element);
    values_.reset(allocate_aligned(size + 64));
    if (!values_) throw std::bad_alloc();
    std::memset(values_.get(), 0, size);
    if (packing.element == GLIC_BFLOAT16) {
        pack(weight, inputs, outputs, stride, depth(), packing, static_cast<Bfloat16*>(values_.get()));
    } else {
        pack(weight, inputs, outputs, stride, depth(), packing, static_cast<float*>(values_.get()));
    }
}

}  // namespace glic
