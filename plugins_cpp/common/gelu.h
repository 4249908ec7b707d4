// GELU's approximation, for every kind of kernel.
#ifndef GLIC_COMMON_GELU_H
#define GLIC_COMMON_GELU_H

// Φ's tail beyond d = |x| is two to the power of this polynomial of d, highest power first. It was fitted to
// the tail's logarithm so that the largest error of GELU, 2e-7 · max(1, |x|), is least. A macro, because code
// for a GPU cannot read an array of the host.
#define GLIC_GELU_TAIL                                              \
    {3.1520255e-6f,  2.9332406e-7f,  -6.3592818e-4f, 7.8107049e-3f, \
     -5.3123806e-2f, -4.5892835e-1f, -1.15116278f,   -9.9999613e-1f}

namespace glic {

// Beyond this distance the tail is nothing beside x.
constexpr float kGeluEnd = 5.5f;

}  // namespace glic

#endif
