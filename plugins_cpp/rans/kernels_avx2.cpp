#include "cpu_features.h"
#include "kernels_avx2_vector.h"
#include "kernels_simd.h"

namespace rans {
namespace {

using Lanes8 = SimdKernels<Vector256, 8>;
using Lanes16 = SimdKernels<Vector256, 16>;
using Lanes32 = SimdKernels<Vector256, 32>;

}  // namespace

const Kernels avx2_kernels = {
    kCompiledFeatures,
    {scalar_decode<1>, scalar_decode<2>, scalar_decode<4>, Lanes8::decode, Lanes16::decode, Lanes32::decode},
    {scalar_encode<1>, scalar_encode<2>, scalar_encode<4>, Lanes8::encode, Lanes16::encode, Lanes32::encode},
};

}  // namespace rans
