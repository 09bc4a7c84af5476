# `cmake --install build --prefix DIR`, then in another project: find_package(pumice CONFIG) and link pumice::pumice.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(folders tensor autograd ops nn moe models data train)
list(TRANSFORM folders PREPEND pumice_ OUTPUT_VARIABLE libraries)
foreach(folder IN LISTS folders)
  set_target_properties(pumice_${folder} PROPERTIES EXPORT_NAME ${folder})
  install(DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/pumice FILES_MATCHING PATTERN *.h
    PATTERN json.h EXCLUDE PATTERN json_part.h EXCLUDE PATTERN document.h EXCLUDE)  # name nlohmann-json, which users need not have
endforeach()
install(TARGETS ${libraries} pumice EXPORT pumice ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT pumice NAMESPACE pumice:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/pumice)
configure_package_config_file(${CMAKE_CURRENT_SOURCE_DIR}/cmake/pumiceConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/pumiceConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/pumice)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/pumiceConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/pumiceConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/pumiceConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/pumice)
install(TARGETS pumice_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(PUMICE_SENTENCEPIECE)
  install(TARGETS pumice_sentencepiece LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
