// Walks over channels by vectors, the last of which may be a part of one. Included after a simd header.
#ifndef GLIC_COMMON_VECTORS_INL
#define GLIC_COMMON_VECTORS_INL

#include <cstdint>
#include <type_traits>

namespace glic {
namespace GLIC_SIMD {
namespace {

template <bool kWhole, typename T>
inline Vec load_vector(const T* p, int some) {
    return kWhole ? load(p) : load_some(p, some);
}

template <bool kWhole, typename T>
inline void store_vector(T* p, Vec v, int some) {
    if (kWhole) {
        store(p, v);
    } else {
        store_some(p, v, some);
    }
}

// Calls body(whole, channel, some) for each vector of `channels`; `some` lanes count where it is not a whole
// one.
template <typename Body>
inline void for_vectors(int64_t channels, Body body) {
    int64_t c = 0;
    for (; c + kWidth <= channels; c += kWidth) body(std::true_type(), c, kWidth);
    if (c < channels) body(std::false_type(), c, static_cast<int>(channels - c));
}

}  // namespace
}  // namespace GLIC_SIMD
}  // namespace glic

#endif
