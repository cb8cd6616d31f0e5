// Matrix products by cuBLASLt, opened at run time: ceilings of the tensor cores, and baselines.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <memory>

namespace pareto {

inline constexpr const char* kCublasLtSoname = "libcublasLt.so.13";

/// Types of y[M,N] = x[M,K] · w[N,K]ᵀ, all row-major and contiguous.
struct LtTypes {
  cudaDataType_t x = CUDA_R_32F;
  cudaDataType_t w = CUDA_R_32F;
  cudaDataType_t y = CUDA_R_32F;
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
  bool fast_accumulation = false;  ///< fp8: without promotion to fp32
  /// fp8, Hopper alone: scales of 128 of K, as set_block_scales takes them.
  bool block_scales = false;
};

/// One product, with the fastest of the algorithms that the library proposes. All products of a
/// process share one workspace: they run on one stream.
class LtProduct {
 public:
  /// Times the algorithms on operands of its own, once per process for the same sizes and types: a
  /// rotation over many operands must not mix algorithms. CannotRunError if the library or the
  /// device does not take these types or sizes.
  LtProduct(std::int64_t M, std::int64_t N, std::int64_t K, const LtTypes& types);
  ~LtProduct();
  LtProduct(const LtProduct&) = delete;
  LtProduct& operator=(const LtProduct&) = delete;

  /// Device pointers, 16-byte aligned, that later runs read: of x fp32 [⌈K/128⌉,M], of w one per
  /// block of 128 × 128, fp32 [⌈N/128⌉,⌈K/128⌉ rounded up to 4]. y = Σ over blocks of 128 of K of
  /// x_scale · w_scale · (codes of x · codes of w).
  void set_block_scales(const float* x, const float* w);

  /// Device pointers, 16-byte aligned; starts the product on the harness's stream.
  void run(const void* x, const void* w, void* y);

 private:
  struct Descriptors;
  [[nodiscard]] cublasLtMatmulAlgo_t fastest(std::int64_t M, std::int64_t N, std::int64_t K,
                                             const LtTypes& types);
  [[nodiscard]] bool start(const cublasLtMatmulAlgo_t& algorithm, const void* x, const void* w,
                           void* y);
  std::unique_ptr<Descriptors> descriptors_;
  cublasLtMatmulAlgo_t algorithm_{};
};

}  // namespace pareto
