# One GoogleTest program per folder under tests/, each holding the whole program.
find_package(GTest REQUIRED)
set(PARETO_TEST_TIMEOUT_S 900)
if(PARETO_SANITIZE)
  set(PARETO_TEST_TIMEOUT_S 3600)  # instrumented code takes several times as long
endif()

# GCC 12's thread sanitizer cannot place its shadow under kernels that randomize 32 bits of mmap.
set(PARETO_TEST_LAUNCHER "")
if(PARETO_SANITIZE MATCHES "thread")
  execute_process(COMMAND setarch -R true RESULT_VARIABLE setarch_failed OUTPUT_QUIET ERROR_QUIET)
  if(NOT setarch_failed)
    set(PARETO_TEST_LAUNCHER setarch -R)
  endif()
endif()

# pareto_add_program(name source...): program test_<name>.
function(pareto_add_program name)
  add_executable(test_${name} ${ARGN})
  pareto_link(test_${name})
  target_link_libraries(test_${name} PRIVATE GTest::gtest GTest::gtest_main GTest::gmock)
endfunction()

# pareto_register_test(name program argument...): CTest test <name> runs test_<program>.
function(pareto_register_test name program)
  add_test(NAME ${name}
    COMMAND ${PARETO_TEST_LAUNCHER} $<TARGET_FILE:test_${program}> --gtest_brief=1 ${ARGN})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${PARETO_TEST_TIMEOUT_S} LABELS cpp
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endfunction()

# pareto_add_test(name source...): program test_<name>, CTest test <name>.
function(pareto_add_test name)
  if(NOT "${ARGN}" STREQUAL "")
    pareto_add_program(${name} ${ARGN})
    pareto_register_test(${name} ${name})
  endif()
endfunction()

foreach(folder IN ITEMS harness reference cli kernels)
  file(GLOB test_sources CONFIGURE_DEPENDS tests/${folder}/*.cc)
  pareto_add_test(${folder} ${test_sources})
endforeach()
if(TARGET test_kernels)  # includes headers of kernels
  target_compile_options(test_kernels PRIVATE ${PARETO_KERNEL_OPTIONS})
endif()

# Kernels' own tile loops, compiled for the host: there the mark of device functions means nothing.
# Fibers change stacks, which the sanitizers do not follow.
file(GLOB emulator_sources CONFIGURE_DEPENDS tests/emulator/*.cc)
if(NOT PARETO_SANITIZE)
  pareto_add_test(emulator ${emulator_sources})
  target_compile_definitions(test_emulator PRIVATE __device__=)
  target_compile_options(test_emulator PRIVATE -Wno-unknown-pragmas)
endif()

# Rogues register themselves as variants, so they are linked into their own program alone.
file(GLOB rogue_sources CONFIGURE_DEPENDS tests/rogues_test.cc tests/rogues/*.cc)
if(PARETO_WITH_CUDA)
  file(GLOB cuda_rogue_sources CONFIGURE_DEPENDS tests/rogues/*.cu)
  list(APPEND rogue_sources ${cuda_rogue_sources})
endif()
pareto_add_test(rogues ${rogue_sources})
if(TARGET test_rogues)
  target_compile_options(test_rogues PRIVATE ${PARETO_KERNEL_OPTIONS}
    $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr>)
endif()
# Every check of every variant, one CTest test an op: the whole takes as long as all else together.
file(GLOB suite_sources CONFIGURE_DEPENDS tests/*.cc)
list(FILTER suite_sources EXCLUDE REGEX "/rogues_test\\.cc$")
pareto_add_program(suite ${suite_sources})
pareto_register_test(suite_registry suite --gtest_filter=-Variants/*)
file(GLOB op_folders CONFIGURE_DEPENDS LIST_DIRECTORIES TRUE RELATIVE ${CMAKE_SOURCE_DIR}/kernels
  kernels/*)
foreach(op IN LISTS op_folders)
  if(IS_DIRECTORY ${CMAKE_SOURCE_DIR}/kernels/${op})
    pareto_register_test(suite_${op} suite --gtest_filter=Variants/${op}/*)
  endif()
endforeach()

file(GLOB e2e_tests CONFIGURE_DEPENDS tests/e2e/test_*.py)
set(PARETO_PYTHON ${CMAKE_SOURCE_DIR}/build/venv/bin/python CACHE FILEPATH "Python with tests/requirements")
foreach(test IN LISTS e2e_tests)
  get_filename_component(name ${test} NAME_WE)
  string(REGEX REPLACE "^test_" "e2e_" name ${name})
  add_test(NAME ${name} COMMAND ${PARETO_PYTHON} -m pytest -q -p no:cacheprovider ${test})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${PARETO_TEST_TIMEOUT_S} LABELS e2e
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
    ENVIRONMENT "PARETO_BUILD_DIR=${CMAKE_BINARY_DIR};PARETO_PROGRAM=${CMAKE_BINARY_DIR}/pareto;PYTHONDONTWRITEBYTECODE=1;PYTHONPATH=${CMAKE_SOURCE_DIR}/paper")
endforeach()

if(PARETO_WITH_CUDA)
  add_test(NAME ptxas_gate COMMAND ${PARETO_GATE_PYTHON} ${CMAKE_SOURCE_DIR}/tools/ptxas_gate.py --self-test)
  add_test(NAME ptxas_planted COMMAND ${PARETO_GATE_PYTHON} ${CMAKE_SOURCE_DIR}/tools/ptxas_gate.py
    --planted ${CMAKE_SOURCE_DIR}/tests/ptxas ${CMAKE_CUDA_COMPILER} -O3 -Xptxas=-v
    -gencode=arch=compute_90a,code=sm_90a)
  set_tests_properties(ptxas_gate ptxas_planted PROPERTIES TIMEOUT 120 LABELS cuda)
endif()
