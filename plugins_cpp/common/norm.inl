// The residual sum of a position, and its layer normalisation. Included after a simd header.

#include <cmath>
#include <cstdint>

#include "vectors.inl"

namespace glic {
namespace GLIC_SIMD {
namespace {

// sums = x + (update + bias).
template <typename T>
inline void add_update(const float* x, const T* update, const float* bias, int64_t channels, float* sums) {
    for_vectors(channels, [&](auto whole, int64_t c, int some) {
        const Vec change = add(load_vector<whole>(update + c, some), load_vector<whole>(bias + c, some));
        store_vector<whole>(sums + c, add(load_vector<whole>(x + c, some), change), some);
    });
}

// normed = (values - mean) / sqrt(variance + epsilon).
template <typename T>
inline void normalise(const float* values, int64_t channels, float epsilon, T* normed) {
    const float share = 1.0f / static_cast<float>(channels);
    Vec totals = set(0.0f);
    for_vectors(channels, [&](auto whole, int64_t c, int some) {
        totals = add(totals, load_vector<whole>(values + c, some));
    });
    const Vec mean = set(share * sum(totals));

    Vec squares = set(0.0f);
    for_vectors(channels, [&](auto whole, int64_t c, int some) {
        Vec v = sub(load_vector<whole>(values + c, some), mean);
        if (!whole) v = select(lanes_of((1u << some) - 1), v, set(0.0f));
        squares = fma(v, v, squares);
    });
    const Vec scale = set(1.0f / std::sqrt(share * sum(squares) + epsilon));
    for_vectors(channels, [&](auto whole, int64_t c, int some) {
        store_vector<whole>(normed + c, mul(sub(load_vector<whole>(values + c, some), mean), scale), some);
    });
}

}  // namespace
}  // namespace GLIC_SIMD
}  // namespace glic
