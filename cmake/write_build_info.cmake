# Script (cmake -P): writes OUTPUT with the identity of this build. See build_info.cmake.
set(commit "unknown")
set(dirty_hash "")
if(GIT)
  execute_process(COMMAND ${GIT} -C ${SOURCE_DIR} rev-parse HEAD
    OUTPUT_VARIABLE head OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(commit ${head})
    execute_process(COMMAND ${GIT} -C ${SOURCE_DIR} diff HEAD --no-ext-diff OUTPUT_VARIABLE diff ERROR_QUIET)
    execute_process(COMMAND ${GIT} -C ${SOURCE_DIR} ls-files --others --exclude-standard
      OUTPUT_VARIABLE untracked ERROR_QUIET)
    if(NOT "${diff}${untracked}" STREQUAL "")
      string(SHA256 dirty_hash "${diff}${untracked}")
    endif()
  endif()
endif()

# The build id covers what decides the program's numbers: its sources by relative path and content,
# and the compiler with its flags. Documents, tests and figures do not change it.
file(GLOB sources RELATIVE ${SOURCE_DIR}
  ${SOURCE_DIR}/CMakeLists.txt ${SOURCE_DIR}/cmake/*.cmake
  ${SOURCE_DIR}/harness/*.h ${SOURCE_DIR}/harness/*.cc ${SOURCE_DIR}/harness/*.cu*
  ${SOURCE_DIR}/reference/*.h ${SOURCE_DIR}/reference/*.cc
  ${SOURCE_DIR}/kernels/*.h ${SOURCE_DIR}/kernels/*.cc ${SOURCE_DIR}/kernels/*.cu*
  ${SOURCE_DIR}/kernels/*/*.h ${SOURCE_DIR}/kernels/*/*.cc ${SOURCE_DIR}/kernels/*/*.cu*
  ${SOURCE_DIR}/cli/*.h ${SOURCE_DIR}/cli/*.cc)
list(SORT sources)
set(identity "${COMPILER} ${COMPILER_VERSION}|${FLAGS}|${BUILD_TYPE}|${CUDA}")
foreach(source IN LISTS sources)
  file(SHA256 ${SOURCE_DIR}/${source} content)
  string(APPEND identity "|${source}=${content}")
endforeach()
string(SHA256 build_id "${identity}")
string(SUBSTRING ${build_id} 0 16 build_id)

# Results of the references are remembered under this id: it changes with their sources alone.
set(reference_identity "${COMPILER} ${COMPILER_VERSION}|${FLAGS}")
foreach(source IN LISTS sources)
  if(source MATCHES "^reference/|^harness/(tensor|problem|op|thread_pool)\\.")
    file(SHA256 ${SOURCE_DIR}/${source} content)
    string(APPEND reference_identity "|${source}=${content}")
  endif()
endforeach()
string(SHA256 reference_id "${reference_identity}")
string(SUBSTRING ${reference_id} 0 16 reference_id)

# Names of the CUDA variants, one a source file, so that a CPU-only program can still list them.
file(GLOB cuda_sources RELATIVE ${SOURCE_DIR}/kernels ${SOURCE_DIR}/kernels/*/*.cu)
list(TRANSFORM cuda_sources REPLACE "\\.cu$" "")
list(JOIN cuda_sources " " cuda_variants)

string(CONFIGURE [[
#pragma once
// Generated at build time.
#include <string_view>

namespace pareto::build_info {
inline constexpr std::string_view kVersion = "@VERSION@";
inline constexpr std::string_view kGitCommit = "@commit@";
/// SHA-256 of the uncommitted changes, empty when there are none.
inline constexpr std::string_view kDirtyHash = "@dirty_hash@";
inline constexpr std::string_view kCompiler = "@COMPILER@";
inline constexpr std::string_view kCompilerVersion = "@COMPILER_VERSION@";
inline constexpr std::string_view kFlags = "@FLAGS@";
inline constexpr std::string_view kBuildType = "@BUILD_TYPE@";
/// nvcc's version and flags, or "none".
inline constexpr std::string_view kCuda = "@CUDA@";
/// 16 hex digits over all sources, the compiler and its flags.
inline constexpr std::string_view kBuildId = "@build_id@";
/// 16 hex digits over the references' sources, the compiler and its flags.
inline constexpr std::string_view kReferenceId = "@reference_id@";
/// Every kernels/<op>/<name>.cu as "<op>/<name>", separated by spaces, built or not.
inline constexpr std::string_view kCudaVariants = "@cuda_variants@";
}  // namespace pareto::build_info
]] text @ONLY)
set(previous "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} previous)
endif()
if(NOT previous STREQUAL text)
  file(WRITE ${OUTPUT} "${text}")
endif()
