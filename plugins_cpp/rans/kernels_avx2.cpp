#include "kernels.h"
namespace rans {
const Kernels avx2_kernels = scalar_kernels;
}
