// The numbers of the complexity map (specification section 3, steps 1 and 2), as all kernels use them.
#ifndef GLIC_COMPLEXITY_MAP_COMPLEXITY_H
#define GLIC_COMPLEXITY_MAP_COMPLEXITY_H

namespace glic {

// Sobel's filters are divided by 4, so squares of their sums by 16.
constexpr float kSquaredScale = 1.0f / 16.0f;
constexpr float kLeastSquare = 1e-9f;
// The taps of the Gaussian of sigma 0.8, whose sum is 1.
constexpr float kOuterTap = 0.23899426f;
constexpr float kInnerTap = 0.52201147f;
constexpr float kContrast = 1.5f;

}  // namespace glic

#endif
