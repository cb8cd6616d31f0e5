# Object libraries of the program. OBJECT, not STATIC: the linker would drop self-registering files.
set(PARETO_PLUGIN_LIBRARIES openblas onednn torch ggml)
set(PARETO_OBJECTS "")

# pareto_add_objects(name source...): an object library that pareto_link() links everywhere.
macro(pareto_add_objects name)
  if("${ARGN}" STREQUAL "")
    message(STATUS "${name}: no sources yet")
  else()
    add_library(${name} OBJECT ${ARGN})
    target_link_libraries(${name} PUBLIC pareto_dependencies)
    list(APPEND PARETO_OBJECTS ${name})
  endif()
endmacro()

file(GLOB harness_sources CONFIGURE_DEPENDS harness/*.cc)
# The device is CUDA or none.
if(PARETO_WITH_CUDA)
  list(FILTER harness_sources EXCLUDE REGEX "/harness/device_none\\.cc$")
else()
  list(FILTER harness_sources EXCLUDE REGEX "/harness/(device_cuda|device_ceilings|cublaslt)\\.cc$")
endif()
file(GLOB reference_sources CONFIGURE_DEPENDS reference/*.cc)
file(GLOB kernel_sources CONFIGURE_DEPENDS kernels/*.cc kernels/*/*.cc)
file(GLOB cli_sources CONFIGURE_DEPENDS cli/*.cc)
list(FILTER cli_sources EXCLUDE REGEX "/cli/main\\.cc$")
# What only some builds have; see harness/absent_variants.h.
file(GLOB optional_variants CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} kernels/*/*.cu)
foreach(library IN LISTS PARETO_PLUGIN_LIBRARIES)
  file(GLOB variants CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} kernels/*/${library}_*.cc)
  list(APPEND optional_variants ${variants})
  list(FILTER kernel_sources EXCLUDE REGEX "/kernels/[^/]+/${library}_[^/]*\\.cc$")
endforeach()
list(JOIN optional_variants " " optional_variants)
set_source_files_properties(harness/absent_variants.cc PROPERTIES
  COMPILE_DEFINITIONS "PARETO_OPTIONAL_VARIANTS=\"${optional_variants}\"")

# Attention by cuDNN: its headers come with a toolkit or not, and bootstrap.sh fetches those that
# build its graphs.
set(PARETO_CUDNN_SOURCE ${CMAKE_SOURCE_DIR}/kernels/attention/cudnn_graph.cc)
if(PARETO_WITH_CUDA)
  find_path(PARETO_CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_path(PARETO_CUDNN_FRONTEND_INCLUDE cudnn_frontend.h
    HINTS ${CMAKE_SOURCE_DIR}/build/cudnn-frontend/include)
endif()
if(PARETO_WITH_CUDA AND PARETO_CUDNN_INCLUDE AND PARETO_CUDNN_FRONTEND_INCLUDE)
  # -O1: much template code, of which a timed call runs no more than the launch.
  set_source_files_properties(${PARETO_CUDNN_SOURCE} PROPERTIES COMPILE_OPTIONS
    "-O1;-w;-isystem;${PARETO_CUDNN_FRONTEND_INCLUDE};-isystem;${PARETO_CUDNN_INCLUDE};-isystem;${CUDAToolkit_INCLUDE_DIRS}")
  set_source_files_properties(kernels/attention/cudnn_sdpa.cu tests/kernels/cudnn_graph_test.cc
    PROPERTIES COMPILE_DEFINITIONS PARETO_WITH_CUDNN)
else()
  list(REMOVE_ITEM kernel_sources ${PARETO_CUDNN_SOURCE})
endif()

pareto_add_objects(pareto_harness ${harness_sources})
pareto_add_objects(pareto_reference ${reference_sources})
pareto_add_objects(pareto_kernels ${kernel_sources})
pareto_add_objects(pareto_cli ${cli_sources})
# References stay plain: a contracted multiply-add would make them depend on the compiler's mood.
foreach(target IN ITEMS pareto_harness pareto_reference)
  if(TARGET ${target})
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)
  endif()
endforeach()
if(TARGET pareto_harness)
  add_dependencies(pareto_harness pareto_build_info)
endif()
# GCC 12's AVX-512 headers raise false -Wuninitialized.
set(PARETO_KERNEL_LEVEL -O3)
if(PARETO_SANITIZE)
  set(PARETO_KERNEL_LEVEL -O1)
endif()
set(PARETO_KERNEL_OPTIONS
  $<$<COMPILE_LANGUAGE:CXX>:${PARETO_KERNEL_LEVEL};-Wno-uninitialized;-Wno-maybe-uninitialized>)
if(TARGET pareto_kernels)
  target_compile_options(pareto_kernels PRIVATE ${PARETO_KERNEL_OPTIONS})
endif()

if(PARETO_WITH_CUDA)
  file(GLOB cuda_sources CONFIGURE_DEPENDS harness/*.cu kernels/*.cu kernels/*/*.cu)
  pareto_add_objects(pareto_cuda ${cuda_sources})
  if(TARGET pareto_cuda)
    set_target_properties(pareto_cuda PROPERTIES CUDA_COMPILER_LAUNCHER "${PARETO_CUDA_LAUNCHER}")
    # Index maps are constexpr functions that kernels and host tests share.
    target_compile_options(pareto_cuda PRIVATE -Xptxas=-v --expt-relaxed-constexpr)
  endif()
endif()

# pareto_link(target): the whole program except main(), with its symbols open to plug-ins.
function(pareto_link target)
  target_link_libraries(${target} PRIVATE ${PARETO_OBJECTS} pareto_dependencies)
  set_target_properties(${target} PROPERTIES ENABLE_EXPORTS ON)
endfunction()

if(EXISTS ${CMAKE_SOURCE_DIR}/cli/main.cc)
  add_executable(pareto cli/main.cc)
  pareto_link(pareto)
  # RPATH, not RUNPATH: private libraries must also be found by one another.
  target_link_options(pareto PRIVATE -Wl,--disable-new-dtags)
  set_target_properties(pareto PROPERTIES INSTALL_RPATH "$ORIGIN/../lib")
endif()
