"""The CUDA kernels and TensorRT plugins of glic-deploy, in `_native`; glic_deploy loads them."""
