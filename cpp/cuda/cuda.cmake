# The CUDA part. FP8REF_CUDA: OFF leaves it out, ON demands nvcc, AUTO takes it where nvcc and a driver are found, SIMT
# compiles the same kernels by the C++ compiler for the emulator of tests/simt: every kernel's bits can be tested, slowly,
# on a machine without a GPU.
set(FP8REF_CUDA_ENABLED OFF)
if(FP8REF_CUDA STREQUAL "ON" OR FP8REF_CUDA STREQUAL "AUTO")
  include(CheckLanguage)
  check_language(CUDA)
  find_library(FP8REF_CUDA_DRIVER NAMES libcuda.so.1 cuda)
  if(FP8REF_CUDA STREQUAL "ON" AND NOT CMAKE_CUDA_COMPILER)
    message(FATAL_ERROR "FP8REF_CUDA=ON, but no nvcc was found")
  endif()
  if(CMAKE_CUDA_COMPILER AND (FP8REF_CUDA STREQUAL "ON" OR FP8REF_CUDA_DRIVER))
    set(FP8REF_CUDA_ENABLED ON)
  endif()
endif()
message(STATUS "fp8ref: CUDA part ${FP8REF_CUDA_ENABLED} (FP8REF_CUDA=${FP8REF_CUDA})")
file(GLOB FP8REF_CUDA_SOURCES CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/cpp/cuda/*.cu")
list(FILTER FP8REF_CUDA_SOURCES EXCLUDE REGEX "/wgmma_kernel_")  # cutlass.cmake

# The kernels for the emulator, which has no wgmma.
function(fp8ref_add_simt target)
  set(sources ${FP8REF_CUDA_SOURCES})
  set_source_files_properties(${sources} PROPERTIES LANGUAGE CXX)  # in the caller's folder only
  add_library(${target} STATIC ${sources} "${PROJECT_SOURCE_DIR}/tests/simt/simt.cpp"
                               "${PROJECT_SOURCE_DIR}/tests/simt/runtime.cpp")
  target_include_directories(${target} PUBLIC "${PROJECT_SOURCE_DIR}/cpp" "${PROJECT_SOURCE_DIR}/tests/simt/include")
  target_compile_definitions(${target} PUBLIC FP8REF_SIMT)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-x c++ -O2 -Wno-unknown-pragmas>)
  target_link_libraries(${target} PUBLIC fp8ref_headers fp8ref_cpu PRIVATE $<BUILD_INTERFACE:fp8ref_options>)
endfunction()

# fp8ref_cuda: a static library with a static CUDA runtime; building it needs nvcc, but no driver and no GPU.
# No flush to zero, no approximate division or root, no contraction [ROUND-ENV].
if(FP8REF_CUDA STREQUAL "SIMT")
  fp8ref_add_simt(fp8ref_cuda)
elseif(FP8REF_CUDA_ENABLED)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES "80;89;90a" CACHE STRING "GPU architectures to build for")
  endif()
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  add_library(fp8ref_cuda STATIC ${FP8REF_CUDA_SOURCES})
  set_target_properties(fp8ref_cuda PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF)
  target_include_directories(fp8ref_cuda PRIVATE cpp)
  target_link_libraries(fp8ref_cuda PUBLIC fp8ref_headers fp8ref_cpu CUDA::cudart_static)
  target_compile_options(
    fp8ref_cuda
    PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false --ftz=false --prec-div=true --prec-sqrt=true>
            $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr -Xcompiler=-Wall,-Wextra>
            $<$<AND:$<BOOL:${FP8REF_WERROR}>,$<COMPILE_LANGUAGE:CUDA>>:--Werror=all-warnings>)
  include(cpp/cuda/cutlass.cmake)
  fp8ref_add_wgmma(fp8ref_cuda)
endif()
if(TARGET fp8ref_cuda)
  add_library(fp8ref::cuda ALIAS fp8ref_cuda)
endif()
