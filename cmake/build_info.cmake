# build/generated/build_info.h: refreshed at every build, rewritten only when it changed.
find_package(Git)
set(PARETO_BUILD_INFO ${CMAKE_BINARY_DIR}/generated/build_info.h)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/generated)
string(TOUPPER "${CMAKE_BUILD_TYPE}" PARETO_BUILD_TYPE_UPPER)
string(STRIP "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${PARETO_BUILD_TYPE_UPPER}}" PARETO_FLAGS)
if(PARETO_SANITIZE)
  string(APPEND PARETO_FLAGS " -fsanitize=${PARETO_SANITIZE}")
endif()
set(PARETO_BUILD_INFO_COMMAND
  ${CMAKE_COMMAND}
  -DSOURCE_DIR=${CMAKE_SOURCE_DIR}
  -DOUTPUT=${PARETO_BUILD_INFO}
  -DGIT=${GIT_EXECUTABLE}
  "-DCOMPILER=${CMAKE_CXX_COMPILER_ID}"
  "-DCOMPILER_VERSION=${CMAKE_CXX_COMPILER_VERSION}"
  "-DFLAGS=${PARETO_FLAGS}"
  "-DBUILD_TYPE=${CMAKE_BUILD_TYPE}"
  "-DVERSION=${PROJECT_VERSION}"
  "-DCUDA=$<IF:$<BOOL:${PARETO_WITH_CUDA}>,${CMAKE_CUDA_COMPILER_VERSION} ${CMAKE_CUDA_FLAGS_RELEASE},none>"
  -P ${CMAKE_SOURCE_DIR}/cmake/write_build_info.cmake)
add_custom_target(pareto_build_info
  COMMAND ${PARETO_BUILD_INFO_COMMAND}
  BYPRODUCTS ${PARETO_BUILD_INFO}
  COMMENT "Build info" VERBATIM)
# Only these see it: a path of the build folder in every command line would keep ccache from sharing
# objects between build folders.
set_source_files_properties(harness/provenance.cc harness/reference_cache.cc harness/device.cc PROPERTIES
  INCLUDE_DIRECTORIES ${CMAKE_BINARY_DIR}/generated)
