# The Python extensions: fp8ref._ext, and fp8ref._cuda where there is a CUDA part. Every <stem>.cpp of cpp/bind and of
# cpp/bind/cuda but module.cpp defines bind_<stem>(module); the list that module.cpp calls is written from the file
# names, so that no stem is named twice.
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
execute_process(COMMAND "${Python_EXECUTABLE}" -m nanobind --cmake_dir OUTPUT_STRIP_TRAILING_WHITESPACE
                OUTPUT_VARIABLE nanobind_ROOT)
find_package(nanobind CONFIG REQUIRED)

# The extension module of that name; folder: where its list of stems is written.
function(fp8ref_add_extension name folder sources)
  set(list "// Written by cpp/bind/bind.cmake.\n")
  foreach(source IN LISTS sources)
    get_filename_component(stem "${source}" NAME_WE)
    if(NOT stem STREQUAL "module")
      string(APPEND list "FP8REF_BIND(${stem})\n")
    endif()
  endforeach()
  file(CONFIGURE OUTPUT "${folder}/bind_list.inc" CONTENT "${list}" @ONLY)
  nanobind_add_module(${name} NB_STATIC ${sources} ${ARGN})
  target_include_directories(${name} PRIVATE cpp "${folder}")
  target_link_libraries(${name} PRIVATE fp8ref_cpu fp8ref_options)
  if(SKBUILD)
    install(TARGETS ${name} DESTINATION .)
  endif()
endfunction()

file(GLOB FP8REF_BIND_SOURCES CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/cpp/bind/*.cpp")
fp8ref_add_extension(_ext "${CMAKE_CURRENT_BINARY_DIR}/bind" "${FP8REF_BIND_SOURCES}")

if(TARGET fp8ref_cuda)
  file(GLOB FP8REF_BIND_CUDA_SOURCES CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/cpp/bind/cuda/*.cpp")
  foreach(source IN LISTS FP8REF_BIND_CUDA_SOURCES)  # an operation is bound where it has kernels
    get_filename_component(stem "${source}" NAME_WE)
    string(REPLACE "grouped_mm" "scaled_mm" kernels "${stem}")  # they share theirs
    if(NOT stem STREQUAL "module" AND NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/cpp/cuda/${kernels}.cu")
      list(REMOVE_ITEM FP8REF_BIND_CUDA_SOURCES "${source}")
    endif()
  endforeach()
  fp8ref_add_extension(_cuda "${CMAKE_CURRENT_BINARY_DIR}/bind/cuda" "${FP8REF_BIND_CUDA_SOURCES}" cpp/bind/policies.cpp)
  target_link_libraries(_cuda PRIVATE fp8ref_cuda)
endif()
