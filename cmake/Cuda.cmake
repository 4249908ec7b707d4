# Enables CUDA, where GLIC_CUDA or GLIC_TENSORRT asks for it; no GPU is needed. nvcc: the CMAKE_CUDA_COMPILER given,
# else the system's, else that of the registry's CUDA wheels:
#   pip install nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-cccl
if(NOT CMAKE_CUDA_COMPILER)
  find_program(GLIC_NVCC nvcc HINTS "$ENV{CUDA_HOME}/bin" /usr/local/cuda/bin)
  if(NOT GLIC_NVCC)
    glic_site_packages(site_packages)
    file(GLOB GLIC_NVCC ${site_packages}/nvidia/cu*/bin/nvcc)
  endif()
  if(NOT GLIC_NVCC)
    message(
      FATAL_ERROR
        "No nvcc found: install NVIDIA's CUDA toolkit, or\n"
        "  pip install nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-cccl\n"
        "or build without -DGLIC_CUDA=ON and -DGLIC_TENSORRT=ON")
  endif()
  set(CMAKE_CUDA_COMPILER ${GLIC_NVCC})
endif()
# Machine code for Ampere, Ada, Hopper and Blackwell, and PTX that the driver compiles for those between and after.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90 120)
endif()
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
