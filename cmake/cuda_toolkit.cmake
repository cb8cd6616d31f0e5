# Finds nvcc and sets PARETO_WITH_CUDA. Every CUDA source passes tools/ptxas_gate.py.
set(PARETO_WITH_CUDA OFF)
if(NOT PARETO_CUDA STREQUAL "OFF")
  find_program(PARETO_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin /usr/local/cuda/bin)
  if(PARETO_NVCC)
    # sm_90a, not sm_90: wgmma and setmaxnreg exist only with the suffix.
    set(CMAKE_CUDA_ARCHITECTURES "80-real;90a-real" CACHE STRING "CUDA architectures")
    set(CMAKE_CUDA_COMPILER ${PARETO_NVCC} CACHE FILEPATH "CUDA compiler")
    enable_language(CUDA)
    # CUDA_STANDARD follows CXX_STANDARD, and CMake 3.25 takes nvcc 13 to end at C++17.
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA_STANDARD 20)
    set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -lineinfo")
    find_package(CUDAToolkit REQUIRED)
    find_program(PARETO_GATE_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH REQUIRED)
    set(PARETO_WITH_CUDA ON)
    set(PARETO_CUDA_LAUNCHER ${PARETO_GATE_PYTHON} ${CMAKE_SOURCE_DIR}/tools/ptxas_gate.py)
    if(CMAKE_CXX_COMPILER_LAUNCHER)
      list(APPEND PARETO_CUDA_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
    endif()
    target_compile_definitions(pareto_dependencies INTERFACE PARETO_WITH_CUDA=1)
    target_link_libraries(pareto_dependencies INTERFACE CUDA::cudart_static)
    message(STATUS "CUDA variants: built with ${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION}")
  elseif(PARETO_CUDA STREQUAL "ON")
    message(FATAL_ERROR "PARETO_CUDA=ON, but nvcc is neither on PATH nor under CUDA_HOME or /usr/local/cuda")
  endif()
endif()
if(NOT PARETO_WITH_CUDA)
  message(NOTICE "************************************************************\n"
                 "*  CPU-ONLY BUILD: no nvcc (or PARETO_CUDA=OFF).           *\n"
                 "*  CUDA variants are listed as not built, none can run.    *\n"
                 "************************************************************")
endif()
