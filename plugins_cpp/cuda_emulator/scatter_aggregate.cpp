// The kernel as it is.
#include "../scatter_aggregate/cuda/scatter_aggregate.cu"
