#include "kernels.h"
namespace rans {
const Kernels avx512_kernels = scalar_kernels;
}
