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
# Machine code for Ampere, Jetson Orin (87), Ada, Hopper and Blackwell. The driver compiles the PTX for all others: that
# of 80 for those before Hopper, that of 100 for other data-centre Blackwells and Jetson Thor, that of 120 for what comes.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 86-real 87-real 89-real 90-real 100 120)
endif()
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
# The C++ compiler links the libraries, with the CUDA runtime inside, as it links all others.
find_library(GLIC_CUDART cudart_static HINTS ${CMAKE_CUDA_HOST_IMPLICIT_LINK_DIRECTORIES} REQUIRED)
find_package(Threads REQUIRED)
add_library(glic_cuda_runtime INTERFACE)
target_link_libraries(glic_cuda_runtime INTERFACE ${GLIC_CUDART} Threads::Threads ${CMAKE_DL_LIBS} rt)
