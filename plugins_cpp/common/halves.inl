// Parts of vectors in 16-bit types, uint16_t (half precision) and Bfloat16, by way of whole ones. Included at the
// end of a simd header.

namespace glic {
namespace GLIC_SIMD {

// The first count (at most kWidth) elements; the rest is zero.
template <typename T>
static inline Vec load_some(const T* p, int count) {
    if (count == kWidth) return load(p);
    T padded[kWidth] = {};
    for (int i = 0; i < count; ++i) padded[i] = p[i];
    return load(padded);
}

template <typename T>
static inline void store_some(T* p, Vec v, int count) {
    if (count == kWidth) return store(p, v);
    T all[kWidth];
    store(all, v);
    for (int i = 0; i < count; ++i) p[i] = all[i];
}

}  // namespace GLIC_SIMD
}  // namespace glic
