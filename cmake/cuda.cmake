# CUDA is used where it is found and never needed.
include(CheckLanguage)
option(FILIGREE_CUDA "Build CUDA kernels where a toolkit is found" ON)
set(FILIGREE_HAVE_CUDA OFF)
if(FILIGREE_CUDA AND NOT FILIGREE_SANITIZE)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_ARCHITECTURES 90)
    enable_language(CUDA)
    string(APPEND CMAKE_CUDA_FLAGS " -std=c++20")  # CMake 3.25 does not know CUDA 13's C++20 switch
    set(FILIGREE_HAVE_CUDA ON)
  endif()
endif()
message(STATUS "CUDA: ${FILIGREE_HAVE_CUDA}")
