// GELU for the kernels of gates. Included after a simd header.

namespace glic {
namespace GLIC_SIMD {
namespace {

// x·Φ(x). Φ's tail beyond |x| is two to the power of a polynomial that was fitted to its logarithm so that
// the largest error of GELU is least; past 5.5 the tail is nothing beside x.
inline Vec gelu(Vec x) {
    const Vec zero = set(0.0f), farthest = set(5.5f);
    const Vec distance = max(x, sub(zero, x));
    const Vec d = min(distance, farthest);
    Vec p = fma(set(3.1520255e-6f), d, set(2.9332406e-7f));
    p = fma(p, d, set(-6.3592818e-4f));
    p = fma(p, d, set(7.8107049e-3f));
    p = fma(p, d, set(-5.3123806e-2f));
    p = fma(p, d, set(-4.5892835e-1f));
    p = fma(p, d, set(-1.15116278f));
    p = fma(p, d, set(-9.9999613e-1f));
    const Vec tail = select(greater(distance, farthest), zero, mul(x, exp2_negative(p)));
    return select(greater(x, zero), sub(x, tail), tail);
}

inline Vec gate(Vec a, Vec b) { return mul(gelu(a), b); }

}  // namespace
}  // namespace GLIC_SIMD
}  // namespace glic
