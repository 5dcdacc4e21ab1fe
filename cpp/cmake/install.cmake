# What `cmake --install` puts in place: the headers, the libraries, and a package for find_package(fp8ref).
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(FP8REF_PACKAGE "${CMAKE_INSTALL_LIBDIR}/cmake/fp8ref")
set_target_properties(fp8ref_headers PROPERTIES EXPORT_NAME headers)
set_target_properties(fp8ref_cpu PROPERTIES EXPORT_NAME cpu)
set_target_properties(fp8ref_c PROPERTIES EXPORT_NAME c)
install(TARGETS fp8ref_headers fp8ref_cpu fp8ref_c EXPORT fp8ref ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
                                                                 LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
                                                                 RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
if(FP8REF_CUDA_ENABLED)
  set_target_properties(fp8ref_cuda PROPERTIES EXPORT_NAME cuda)
  install(TARGETS fp8ref_cuda EXPORT fp8ref ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
endif()
install(DIRECTORY cpp/include/fp8ref DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT fp8ref NAMESPACE fp8ref:: FILE fp8refTargets.cmake DESTINATION "${FP8REF_PACKAGE}")
configure_package_config_file(cpp/cmake/fp8refConfig.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/fp8refConfig.cmake"
                              INSTALL_DESTINATION "${FP8REF_PACKAGE}")
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/fp8refConfigVersion.cmake"
                                 COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/fp8refConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/fp8refConfigVersion.cmake"
        DESTINATION "${FP8REF_PACKAGE}")
