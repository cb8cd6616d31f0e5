# `cmake --install build --prefix DIR`: a folder that runs wherever it is put, on a machine that has
# neither HDF5 nor the other libraries. The plug-ins' own big libraries stay behind: a machine
# without oneDNN only lacks that baseline.
if(TARGET pareto)
  install(TARGETS pareto RUNTIME_DEPENDENCY_SET pareto_runtime RUNTIME DESTINATION bin)
  # The C and C++ runtimes stay the machine's own (glibc 2.34, GCC 12 or later): Debian's libstdc++
  # wants glibc 2.36, so that bringing it along would shut out machines that the program runs on.
  install(RUNTIME_DEPENDENCY_SET pareto_runtime
    PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|rt|pthread|resolv|util|stdc\\+\\+|gcc_s)\\.so"
    LIBRARY DESTINATION lib)
  if(PARETO_BUILT_PLUGINS)
    install(TARGETS ${PARETO_BUILT_PLUGINS} LIBRARY DESTINATION lib/pareto/plugins)
    install(DIRECTORY ${CMAKE_BINARY_DIR}/plugins/ DESTINATION lib/pareto/plugins
      FILES_MATCHING PATTERN "*.json")
  endif()
endif()
install(DIRECTORY experiments paper DESTINATION share/pareto OPTIONAL
  PATTERN "__pycache__" EXCLUDE PATTERN ".pytest_cache" EXCLUDE)
install(FILES results/README.md DESTINATION share/pareto/results OPTIONAL)
# What a machine with a GPU needs to check and measure every CUDA variant.
install(PROGRAMS tools/gpu_accept.sh tools/gpu_status.py DESTINATION share/pareto/tools)
if(PARETO_PTXAS_TABLE)
  install(FILES ${PARETO_PTXAS_TABLE} DESTINATION share/pareto)
endif()
if(PARETO_WITH_CUDA AND PARETO_CUDNN_FRONTEND_INCLUDE)
  install(DIRECTORY ${PARETO_CUDNN_FRONTEND_INCLUDE}/../licenses/
    DESTINATION share/pareto/licenses/cudnn-frontend OPTIONAL)
endif()
install(FILES LICENSE CITATION.cff DESTINATION share/pareto OPTIONAL)
