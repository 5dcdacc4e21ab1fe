# The Python extension fp8ref._ext. Every cpp/bind/<stem>.cpp but module.cpp defines bind_<stem>(module); the list that
# module.cpp calls is written from the file names, so that no stem is named twice.
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
execute_process(COMMAND "${Python_EXECUTABLE}" -m nanobind --cmake_dir OUTPUT_STRIP_TRAILING_WHITESPACE
                OUTPUT_VARIABLE nanobind_ROOT)
find_package(nanobind CONFIG REQUIRED)

file(GLOB FP8REF_BIND_SOURCES CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/cpp/bind/*.cpp")
set(FP8REF_BIND_LIST "// Written by cpp/bind/bind.cmake.\n")
foreach(source IN LISTS FP8REF_BIND_SOURCES)
  get_filename_component(stem "${source}" NAME_WE)
  if(NOT stem STREQUAL "module")
    string(APPEND FP8REF_BIND_LIST "FP8REF_BIND(${stem})\n")
  endif()
endforeach()
file(CONFIGURE OUTPUT "${CMAKE_CURRENT_BINARY_DIR}/bind/bind_list.inc" CONTENT "${FP8REF_BIND_LIST}" @ONLY)

nanobind_add_module(_ext NB_STATIC ${FP8REF_BIND_SOURCES})
target_include_directories(_ext PRIVATE cpp "${CMAKE_CURRENT_BINARY_DIR}/bind")
target_link_libraries(_ext PRIVATE fp8ref_cpu fp8ref_options)
install(TARGETS _ext DESTINATION .)
