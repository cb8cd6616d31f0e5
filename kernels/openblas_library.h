// OpenBLAS behind function pointers: it chooses its kernels while it is being loaded, so that the
// environment must be right before, and the module must not be linked with it.
#pragma once

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>

#include "harness/affinity.h"
#include "harness/errors.h"
#include "harness/isa.h"
#include "harness/machine.h"
#include "harness/provenance.h"
#include "harness/variant.h"
// Last: the constants of CBLAS and the version that this was compiled against.
#include <cblas.h>

namespace pareto {

inline constexpr const char* kOpenBlasSoname = "libopenblas.so.0";

class OpenBlas {
 public:
  /// Loads the library at the first call. CannotRunError if it is not there.
  static const OpenBlas& get() {
    static const OpenBlas instance;
    return instance;
  }

  /// C[M,N] = A[M,K] · B[N,K]ᵀ with `threads` threads; row-major fp32, alignment of the element, C
  /// may hold anything. A single row is a matrix-vector product, as a user of BLAS would write it.
  void multiply(std::int64_t M, std::int64_t N, std::int64_t K, const float* a, const float* b,
                float* c, int threads) const {
    if (M == 0 || N == 0) return;
    if (get_threads_() != threads) set_threads_(threads);
    const auto m = static_cast<blasint>(M);
    const auto n = static_cast<blasint>(N);
    const auto k = static_cast<blasint>(K);
    const blasint row = k > 0 ? k : 1;
    if (M > 1 || K == 0) {
      gemm_(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1, a, row, b, row, 0, c, n);
      return;
    }
    // Some releases multiply by a beta of 0, which keeps a NaN.
    for (std::int64_t i = 0; i < N; ++i) c[i] = 0;
    gemv_(CblasRowMajor, CblasNoTrans, n, k, 1, b, row, a, 1, 0, c, 1);
  }

  /// What this was compiled against: "OpenBLAS 0.3.21".
  static std::string compiled_name() {
    const std::string padded = OPENBLAS_VERSION;
    const std::size_t first = padded.find_first_not_of(' ');
    return padded.substr(first, padded.find_last_not_of(' ') + 1 - first);
  }

 private:
  OpenBlas() {
    // Debian's 0.3.21 takes its AVX2 core on CPUs with AVX-512 that it does not know: half the
    // speed on Zen 5. Overwritten, since images carry that very core in their environment, meant
    // for somebody else's programs.
    if ((isa_here() & static_cast<IsaSet>(Isa::kAvx512)) != 0) {
      setenv("OPENBLAS_CORETYPE", "SkylakeX", 1);
    }
    // It makes its threads while loading, and they inherit where the caller may run.
    const AffinityScope affinity(this_machine().cores, true);
    handle_ = dlopen(kOpenBlasSoname, RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) throw CannotRunError(fmt::format("OpenBLAS: {}", dlerror()));
    find("openblas_set_num_threads", set_threads_);
    find("openblas_get_num_threads", get_threads_);
    find("cblas_sgemm", gemm_);
    find("cblas_sgemv", gemv_);
    char* (*config)() = nullptr;
    char* (*core)() = nullptr;
    find("openblas_get_config", config);
    find("openblas_get_corename", core);
    add_library_version("OpenBLAS", fmt::format("{}, core {}", config(), core()));
  }

  template <typename Function>
  void find(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(dlsym(handle_, name));
    if (function == nullptr) throw CannotRunError(fmt::format("OpenBLAS: no function {}", name));
  }

  void* handle_ = nullptr;  // never closed: its threads live as long as the program
  void (*set_threads_)(int) = nullptr;
  int (*get_threads_)() = nullptr;
  decltype(&cblas_sgemm) gemm_ = nullptr;
  decltype(&cblas_sgemv) gemv_ = nullptr;
};

/// CBLAS counts in 32 bits.
inline Limit blas_size(const char* key) {
  return {.key = key, .max = std::numeric_limits<blasint>::max()};
}

}  // namespace pareto
