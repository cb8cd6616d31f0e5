# What `make peers` put under build/peers: targets pareto_torch_library and pareto_ggml_library.
set(PARETO_PEERS ${CMAKE_SOURCE_DIR}/build/peers CACHE PATH "Where tools/peers.sh put torch and ggml")

set(torch ${PARETO_PEERS}/python/torch)
if(EXISTS ${torch}/lib/libtorch_cpu.so)
  add_library(pareto_torch_library INTERFACE)
  target_include_directories(pareto_torch_library SYSTEM INTERFACE
    ${torch}/include ${torch}/include/torch/csrc/api/include)
  # By path, so that the module's RPATH leads to them and not to another PyTorch of this machine.
  # Without libtorch.so, whose only use is to pull in the CUDA half.
  target_link_libraries(pareto_torch_library INTERFACE
    -Wl,--no-as-needed ${torch}/lib/libtorch_cpu.so ${torch}/lib/libc10.so -Wl,--as-needed)
endif()

if(EXISTS ${PARETO_PEERS}/ggml/include/ggml.h)
  find_library(PARETO_GGML NAMES ggml PATHS ${PARETO_PEERS}/ggml/lib NO_DEFAULT_PATH)
  find_library(PARETO_GGML_BASE NAMES ggml-base PATHS ${PARETO_PEERS}/ggml/lib NO_DEFAULT_PATH)
  find_library(PARETO_GGML_CPU NAMES ggml-cpu PATHS ${PARETO_PEERS}/ggml/lib NO_DEFAULT_PATH)
  add_library(pareto_ggml_library INTERFACE)
  target_include_directories(pareto_ggml_library SYSTEM INTERFACE ${PARETO_PEERS}/ggml/include)
  target_link_libraries(pareto_ggml_library INTERFACE
    ${PARETO_GGML} ${PARETO_GGML_BASE} ${PARETO_GGML_CPU})
endif()
