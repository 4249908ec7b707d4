// Weight matrices as the kernels of products read them.
#ifndef GLIC_COMMON_PRODUCT_H
#define GLIC_COMMON_PRODUCT_H

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernel.h"

namespace glic {

// How the products of an instruction set read weights of type `element`: panels of `columns` outputs, in
// which `group` consecutive inputs of an output lie together.
struct ProductPacking {
    int32_t element;
    int64_t columns, group;
};

// A weight matrix, packed for one instruction set: panel after panel, with zeros up to whole groups and
// panels.
class ProductWeights {
  public:
    // weight: inputs × outputs, whose rows are `stride` apart. Throws std::bad_alloc.
    ProductWeights(const float* weight, int64_t inputs, int64_t outputs, int64_t stride,
                   const ProductPacking& packing);

    int64_t inputs() const { return inputs_; }
    int64_t outputs() const { return outputs_; }
    // The inputs, filled up to whole groups.
    int64_t depth() const { return (inputs_ + packing_.group - 1) / packing_.group * packing_.group; }
    int64_t panels() const { return (outputs_ + packing_.columns - 1) / packing_.columns; }
    // The outputs, filled up to whole panels.
    int64_t width() const { return panels() * packing_.columns; }
    template <typename T>
    const T* panel(int64_t index) const {
        return static_cast<const T*>(values_.get()) + index * depth() * packing_.columns;
    }

  private:
    struct Free {
        void operator()(void* memory) const;
    };
    ProductPacking packing_;
    int64_t inputs_, outputs_;
    std::unique_ptr<void, Free> values_;
};

// The bytes of an element of maps and weights.
constexpr size_t element_size(int32_t element) { return element == GLIC_FLOAT32 ? 4 : 2; }

}  // namespace glic

#endif
