# Baselines that call a big library: one module pareto_<library>.so each, beside the program in
# plugins/, with a manifest that `list` and `plan` read without opening the module.
set(PARETO_BUILT_PLUGINS "")

# What `make build` builds: all but the tests.
add_custom_target(program)
if(TARGET pareto)
  add_dependencies(program pareto)
endif()

# What ptxas made of every kernel, for `pareto list --verbose`.
if(TARGET pareto_cuda)
  set(PARETO_PTXAS_TABLE ${CMAKE_BINARY_DIR}/ptxas.json)
  add_custom_command(OUTPUT ${PARETO_PTXAS_TABLE}
    COMMAND ${PARETO_GATE_PYTHON} ${CMAKE_SOURCE_DIR}/tools/ptxas_table.py ${PARETO_PTXAS_TABLE}
      $<TARGET_OBJECTS:pareto_cuda>
    DEPENDS $<TARGET_OBJECTS:pareto_cuda> ${CMAKE_SOURCE_DIR}/tools/ptxas_table.py
      ${CMAKE_SOURCE_DIR}/tools/sass_counts.py
    COMMENT "Registers and instructions of the CUDA kernels" COMMAND_EXPAND_LISTS VERBATIM)
  add_custom_target(ptxas_table ALL DEPENDS ${PARETO_PTXAS_TABLE})
  add_dependencies(program ptxas_table)
endif()

# pareto_add_plugin(library link...): from all kernels/*/<library>_*.cc.
function(pareto_add_plugin library)
  file(GLOB sources CONFIGURE_DEPENDS kernels/*/${library}_*.cc)
  if(NOT sources)
    return()
  endif()
  set(target pareto_${library})
  add_library(${target} MODULE ${sources})
  target_link_libraries(${target} PRIVATE pareto_dependencies_headers ${ARGN})
  target_compile_options(${target} PRIVATE ${PARETO_KERNEL_OPTIONS})
  # Harness symbols come from the program that opens the module, hence no objects of ours in here.
  set_target_properties(${target} PROPERTIES
    PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/plugins)
  add_dependencies(program ${target})
  list(APPEND PARETO_BUILT_PLUGINS ${target})
  set(PARETO_BUILT_PLUGINS ${PARETO_BUILT_PLUGINS} PARENT_SCOPE)
  if(PARETO_PLUGIN_MANIFESTS AND TARGET pareto AND EXISTS ${CMAKE_SOURCE_DIR}/cli/plugin_manifest.cc)
    set(manifest ${CMAKE_BINARY_DIR}/plugins/pareto_${library}.json)
    add_custom_command(OUTPUT ${manifest}
      COMMAND pareto plugin-manifest $<TARGET_FILE:${target}> ${manifest}
      DEPENDS pareto ${target} COMMENT "Manifest of ${target}" VERBATIM)
    add_custom_target(${target}_manifest ALL DEPENDS ${manifest})
    add_dependencies(program ${target}_manifest)
  endif()
endfunction()

# The headers and flags of pareto_dependencies without its libraries, which the program provides.
add_library(pareto_dependencies_headers INTERFACE)
target_include_directories(pareto_dependencies_headers INTERFACE
  $<TARGET_PROPERTY:pareto_dependencies,INTERFACE_INCLUDE_DIRECTORIES>)
target_include_directories(pareto_dependencies_headers SYSTEM INTERFACE ${HDF5_INCLUDE})
target_compile_options(pareto_dependencies_headers INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wno-missing-field-initializers>)
target_link_libraries(pareto_dependencies_headers INTERFACE fmt::fmt)

if(PARETO_PLUGINS)
  find_package(OpenBLAS QUIET)
  find_path(OPENBLAS_INCLUDE NAMES openblas_config.h PATH_SUFFIXES openblas openblas-pthread x86_64-linux-gnu/openblas-pthread)
  find_library(OPENBLAS_LIBRARY NAMES openblas PATH_SUFFIXES openblas-pthread)
  if(OPENBLAS_LIBRARY AND OPENBLAS_INCLUDE)
    add_library(pareto_openblas_library INTERFACE)
    target_include_directories(pareto_openblas_library SYSTEM INTERFACE ${OPENBLAS_INCLUDE})
    # Not linked: it is opened at the first use, see kernels/openblas_library.h.
    target_link_libraries(pareto_openblas_library INTERFACE ${CMAKE_DL_LIBS})
    pareto_add_plugin(openblas pareto_openblas_library)
  else()
    message(STATUS "OpenBLAS not found: its baselines are left out")
  endif()

  find_library(ONEDNN_LIBRARY NAMES dnnl)
  find_path(ONEDNN_INCLUDE NAMES dnnl.hpp)
  # Its passes between the library's calls run on the library's own threads: those of OpenMP.
  find_package(OpenMP COMPONENTS CXX)
  if(ONEDNN_LIBRARY AND ONEDNN_INCLUDE AND OpenMP_CXX_FOUND)
    pareto_add_plugin(onednn ${ONEDNN_LIBRARY} OpenMP::OpenMP_CXX)
  else()
    message(STATUS "oneDNN not found: its baselines are left out")
  endif()

  # Put there by `make peers`; see tools/peers.sh.
  include(peers)
  if(TARGET pareto_torch_library)
    pareto_add_plugin(torch pareto_torch_library)
  endif()
  if(TARGET pareto_ggml_library)
    pareto_add_plugin(ggml pareto_ggml_library)
  endif()
endif()

# A module whose sources went away, or whose library did, must not stay behind and be opened.
file(GLOB stale LIST_DIRECTORIES FALSE ${CMAKE_BINARY_DIR}/plugins/*)
foreach(target IN LISTS PARETO_BUILT_PLUGINS)
  list(FILTER stale EXCLUDE REGEX "/${target}\\.(so|json)$")
endforeach()
if(stale)
  file(REMOVE ${stale})
endif()
