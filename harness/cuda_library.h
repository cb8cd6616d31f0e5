// NVIDIA's libraries and PyTorch's, opened at run time: from the toolkit, the loader's folders or a
// Python installation. A machine that lacks one only lacks what calls it.
#pragma once

#include <string>

namespace pareto {

/// Where `soname` ("libcublasLt.so.13") lies; empty if nowhere. Looks in $PARETO_CUDA_LIBRARIES,
/// $CUDA_HOME/lib64, /usr/local/cuda/lib64, $LD_LIBRARY_PATH, the system's folders, and what
/// python3 knows as the packages `nvidia` and `torch`. Opens nothing.
std::string find_cuda_library(const std::string& soname);

/// "" or "libcublasLt.so.13 not found".
std::string cuda_library_missing(const std::string& soname);

/// Says that a variant ("qgemm/cublaslt_bf16") opens this library: where that is missing, the
/// variant is listed with the reason. Beside its Registration, one for each library.
struct NeedsCudaLibrary {
  NeedsCudaLibrary(const std::string& variant, const std::string& soname);
};
/// Says that a variant was built without something that it needs, and what.
struct BuiltWithout {
  BuiltWithout(const std::string& variant, const std::string& what);
};
/// "" or what this variant was built without, or the first of its libraries that is missing.
std::string missing_cuda_library_of(const std::string& variant);

/// Opened with RTLD_LOCAL and never closed; its path goes to the provenance. CannotRunError with
/// the loader's reason.
void* open_cuda_library(const std::string& soname);

/// CannotRunError if the library lacks the function.
void* cuda_symbol(void* library, const char* name);

}  // namespace pareto
