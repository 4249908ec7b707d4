// The kernel as it is.
#include "../dynamic_knn/cuda/dynamic_knn.cu"
