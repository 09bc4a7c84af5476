# Third-party libraries, each linked by the one folder that uses it. No type of theirs appears in a public header.
find_package(PkgConfig REQUIRED)

# nlohmann-json: a header, private to the .cpp files that parse JSON.
find_path(NLOHMANN_INCLUDE nlohmann/json.hpp)
if(NOT NLOHMANN_INCLUDE)
  message(FATAL_ERROR "nlohmann/json.hpp not found. Try: apt-get install nlohmann-json3-dev")
endif()
foreach(folder tensor data models train)
  target_include_directories(pumice_${folder} SYSTEM PRIVATE ${NLOHMANN_INCLUDE})
endforeach()

# data: images, compression, tokenizers.
find_package(JPEG)
find_package(PNG)
find_package(ZLIB)
pkg_check_modules(PCRE2 IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC IMPORTED_TARGET libutf8proc)
if(NOT (JPEG_FOUND AND PNG_FOUND AND ZLIB_FOUND AND PCRE2_FOUND AND UTF8PROC_FOUND))
  message(FATAL_ERROR "Pumice reads images and text with libjpeg-turbo, libpng, zlib, PCRE2 and utf8proc. "
    "Try: apt-get install libjpeg62-turbo-dev libpng-dev zlib1g-dev libpcre2-dev libutf8proc-dev")
endif()
target_link_libraries(pumice_data PRIVATE JPEG::JPEG PNG::PNG ZLIB::ZLIB PkgConfig::PCRE2 PkgConfig::UTF8PROC)

# data, optional: SentencePiece models. A plug-in that is loaded at run time is the only thing that links the library: it exports the symbols
# of the protobuf inside it, which must not meet those of a host program.
pkg_check_modules(SENTENCEPIECE QUIET IMPORTED_TARGET sentencepiece)
option(PUMICE_SENTENCEPIECE "Build the plug-in for SentencePiece models (needs libsentencepiece-dev)" ${SENTENCEPIECE_FOUND})
if(PUMICE_SENTENCEPIECE)
  if(NOT SENTENCEPIECE_FOUND)
    message(FATAL_ERROR "PUMICE_SENTENCEPIECE=ON needs SentencePiece. Try: apt-get install libsentencepiece-dev")
  endif()
  add_library(pumice_sentencepiece MODULE ${CMAKE_CURRENT_SOURCE_DIR}/plugins/sentencepiece/plugin.cpp)
  pumice_compile_options(pumice_sentencepiece)
  set_target_properties(pumice_sentencepiece PROPERTIES CXX_VISIBILITY_PRESET hidden LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  target_link_libraries(pumice_sentencepiece PRIVATE PkgConfig::SENTENCEPIECE)
  target_link_options(pumice_sentencepiece PRIVATE -Wl,--exclude-libs,ALL)
endif()
include(GNUInstallDirs)
target_compile_definitions(pumice_data PRIVATE PUMICE_LIBRARY_FOLDER="${CMAKE_INSTALL_LIBDIR}")
target_link_libraries(pumice_data PRIVATE ${CMAKE_DL_LIBS})

# data, optional: FreeType draws emoji scenes; without it the procedural shapes remain.
find_package(Freetype)
if(FREETYPE_FOUND)
  target_link_libraries(pumice_data PRIVATE Freetype::Freetype)
  target_compile_definitions(pumice_data PRIVATE PUMICE_FREETYPE=1)
endif()

# data, optional: libwebp reads WebP pictures; without it they are refused by name.
if(PUMICE_WEBP)
  pkg_check_modules(WEBP IMPORTED_TARGET libwebp libwebpdemux)
endif()
if(PUMICE_WEBP AND WEBP_FOUND)
  target_link_libraries(pumice_data PRIVATE PkgConfig::WEBP)
  target_compile_definitions(pumice_data PRIVATE PUMICE_WEBP=1)
elseif(PUMICE_WEBP)
  message(STATUS "libwebp not found: WebP pictures will be refused. Try: apt-get install libwebp-dev")
endif()
