#include "kernels_avx2_vector.h"
#include "kernels_simd.h"

namespace rans {
namespace {

using Lanes8 = SimdKernels<Vector256, 8>;
using Lanes16 = SimdKernels<Vector256, 16>;
using Lanes32 = SimdKernels<Vector256, 32>;

}  // namespace

const Kernels avx2_kernels = {
    {scalar_decode_rows<1>, scalar_decode_rows<2>, scalar_decode_rows<4>, Lanes8::decode, Lanes16::decode,
     Lanes32::decode},
    {scalar_encode_rows<1>, scalar_encode_rows<2>, scalar_encode_rows<4>, Lanes8::encode, Lanes16::encode,
     Lanes32::encode},
};

}  // namespace rans
