# Hopper's FP8 tensor cores, accumulate = sm90_wgmma and sm90_wgmma_promoted: wgmma_kernel_*.cu, for sm_90a only, on the
# headers of CUTLASS 4. Nothing of CUTLASS is fetched here. Where it is not found, or sm_90a is not asked for, these
# kernels are left out and every GPU emulates them, with the same bits.
set(FP8REF_CUTLASS "" CACHE PATH "CUTLASS 4: its source tree, its include folder, or where PyPI's nvidia-cutlass lies")

# Sets FP8REF_CUTLASS_INCLUDE to the folder that holds cutlass/cutlass.h, or to nothing.
function(fp8ref_find_cutlass)
  set(places "${FP8REF_CUTLASS}")
  if(places STREQUAL "")
    set(places "$ENV{CUTLASS_DIR}")
  endif()
  find_package(Python QUIET COMPONENTS Interpreter)
  if(places STREQUAL "" AND Python_EXECUTABLE)
    execute_process(
      COMMAND "${Python_EXECUTABLE}" -c
              "import importlib.util as u, pathlib; print(pathlib.Path(u.find_spec('cutlass_library').origin).parent)"
      OUTPUT_VARIABLE places OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  foreach(inner "" include source/include cutlass_library/source/include)
    if(NOT places STREQUAL "" AND EXISTS "${places}/${inner}/cutlass/cutlass.h")
      set(FP8REF_CUTLASS_INCLUDE "${places}/${inner}" PARENT_SCOPE)
      return()
    endif()
  endforeach()
  if(NOT FP8REF_CUTLASS STREQUAL "")
    message(FATAL_ERROR "FP8REF_CUTLASS=${FP8REF_CUTLASS}, but there is no cutlass/cutlass.h of CUTLASS 4")
  endif()
  set(FP8REF_CUTLASS_INCLUDE "" PARENT_SCOPE)
endfunction()

# Adds the kernels to a target. Those files change rarely and each takes more than a minute and 4 GB to compile, so they
# are a target of their own, which includes no header that has no need to be there.
function(fp8ref_add_wgmma target)
  fp8ref_find_cutlass()
  if(NOT CMAKE_CUDA_ARCHITECTURES MATCHES "90a")
    message(STATUS "fp8ref: wgmma kernels OFF (90a is not among the architectures ${CMAKE_CUDA_ARCHITECTURES})")
    return()
  endif()
  if(FP8REF_CUTLASS_INCLUDE STREQUAL "")
    message(STATUS "fp8ref: wgmma kernels OFF: no CUTLASS 4 (pip install --no-deps nvidia-cutlass==4.2.0.0, or "
                   "-DFP8REF_CUTLASS=<folder>, or CUTLASS_DIR). The emulation kernels give the same bits, slowly")
    return()
  endif()
  message(STATUS "fp8ref: wgmma kernels ON (${FP8REF_CUTLASS_INCLUDE})")
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/cpp/cuda/wgmma_kernel_*.cu")
  add_library(fp8ref_wgmma OBJECT ${sources})
  set_target_properties(fp8ref_wgmma PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_EXTENSIONS OFF
                                                CUDA_ARCHITECTURES 90a-real)
  target_include_directories(fp8ref_wgmma PRIVATE "${PROJECT_SOURCE_DIR}/cpp")
  target_include_directories(fp8ref_wgmma SYSTEM PRIVATE "${FP8REF_CUTLASS_INCLUDE}")
  target_link_libraries(fp8ref_wgmma PRIVATE fp8ref_headers)
  get_target_property(options ${target} COMPILE_OPTIONS)
  target_compile_options(fp8ref_wgmma PRIVATE ${options})
  target_sources(${target} PRIVATE $<TARGET_OBJECTS:fp8ref_wgmma>)
  target_compile_definitions(${target} PRIVATE FP8REF_WGMMA)
endfunction()
