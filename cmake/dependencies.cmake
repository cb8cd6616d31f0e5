# Libraries of the program, gathered in the interface target pareto_dependencies.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(CLI11 REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(benchmark REQUIRED)
pkg_check_modules(hwloc REQUIRED IMPORTED_TARGET hwloc)

# HDF5 is linked statically where it can be: Debian's shared library drags in curl, Kerberos and
# LDAP (35 libraries), which would have to travel with an installed program and cost 20 ms at every
# start. The C API alone needs only zlib and szip.
find_path(HDF5_INCLUDE hdf5.h PATH_SUFFIXES hdf5/serial REQUIRED)
find_library(HDF5_STATIC NAMES libhdf5_serial.a libhdf5.a PATH_SUFFIXES hdf5/serial)
# Dimension scales live in the high-level library.
find_library(HDF5_HL_STATIC NAMES libhdf5_serial_hl.a libhdf5_hl.a PATH_SUFFIXES hdf5/serial)
find_library(SZIP_STATIC NAMES libsz.a)
find_library(AEC_STATIC NAMES libaec.a)
find_library(ZLIB_STATIC NAMES libz.a)
add_library(pareto_hdf5 INTERFACE)
target_include_directories(pareto_hdf5 SYSTEM INTERFACE ${HDF5_INCLUDE})
if(HDF5_STATIC AND HDF5_HL_STATIC AND SZIP_STATIC AND AEC_STATIC AND ZLIB_STATIC)
  target_link_libraries(pareto_hdf5 INTERFACE ${HDF5_HL_STATIC} ${HDF5_STATIC} ${SZIP_STATIC} ${AEC_STATIC} ${ZLIB_STATIC} m dl)
else()
  find_library(HDF5_SHARED NAMES hdf5_serial hdf5 PATH_SUFFIXES hdf5/serial REQUIRED)
  find_library(HDF5_HL_SHARED NAMES hdf5_serial_hl hdf5_hl PATH_SUFFIXES hdf5/serial REQUIRED)
  target_link_libraries(pareto_hdf5 INTERFACE ${HDF5_HL_SHARED} ${HDF5_SHARED})
endif()

add_library(pareto_dependencies INTERFACE)
target_include_directories(pareto_dependencies INTERFACE ${CMAKE_SOURCE_DIR})
target_link_libraries(pareto_dependencies INTERFACE
  pareto_hdf5 CLI11::CLI11 tomlplusplus::tomlplusplus fmt::fmt nlohmann_json::nlohmann_json
  benchmark::benchmark PkgConfig::hwloc Threads::Threads ${CMAKE_DL_LIBS})
target_compile_options(pareto_dependencies INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wno-missing-field-initializers>)
