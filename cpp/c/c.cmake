# The C ABI over the CPU core: libfp8ref, the functions of fp8ref/fp8ref.h and nothing else.
file(GLOB FP8REF_C_SOURCES CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/cpp/c/*.cpp")
add_library(fp8ref_c SHARED ${FP8REF_C_SOURCES})
add_library(fp8ref::c ALIAS fp8ref_c)
target_include_directories(fp8ref_c PRIVATE cpp INTERFACE $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/cpp/include>
                                                          $<INSTALL_INTERFACE:include>)
target_compile_definitions(fp8ref_c PRIVATE FP8REF_VERSION="${PROJECT_VERSION}" INTERFACE FP8REF_IMPORT)
target_link_libraries(fp8ref_c PRIVATE fp8ref_cpu fp8ref_options)
# SOVERSION is FP8REF_ABI_VERSION [ABI-VERSION].
set_target_properties(fp8ref_c PROPERTIES OUTPUT_NAME fp8ref VERSION "${PROJECT_VERSION}" SOVERSION 2)
if(UNIX AND NOT APPLE)  # templates of the C++ library are visible otherwise
  set(FP8REF_C_SYMBOLS "${CMAKE_CURRENT_SOURCE_DIR}/cpp/c/symbols.map")
  target_link_options(fp8ref_c PRIVATE "LINKER:--version-script=${FP8REF_C_SYMBOLS}")
  set_target_properties(fp8ref_c PROPERTIES LINK_DEPENDS "${FP8REF_C_SYMBOLS}")
endif()
