// bf16 and fp16 on Hopper's tensor cores by warpgroup: the third step of the ladder.
//
// Idea: TMA brings 64-wide slices of x and w into a ring of stages, swizzled as wgmma reads them;
// one warpgroup does nothing but start these loads, two multiply 64 × 256 of y each from shared
// memory. Two neighbouring blocks share the loads of w by multicast: without it a 128 × 256 tile
// asks more of L2 than it gives. Blocks stay and take tile after tile, so that the loads of the
// next tile run while the last one is stored. After fast.cu and DeepGEMM.
// Bottleneck: the tensor cores; below about M = 128 the reading of w, for which smaller tiles
// spread it over more multiprocessors. wgmma_layout.h estimates which sizes of tile suit a shape;
// `prepare` tries the best few.
// Layout: device pointers, operands as given; no workspace. K a multiple of 8: TMA wants rows at
// multiples of 16 bytes.
// ptxas: hot
#include <memory>
#include <span>
#include <string>

#include "harness/variant.h"
#include "kernels/qgemm/tensor_core_arithmetic.h"
#include "kernels/qgemm/wgmma_launch.cuh"
#include "reference/qgemm.h"

namespace pareto {
namespace {

using cuda::WgmmaType;

class CudaWgmma : public Prepared {
 public:
  CudaWgmma(const QgemmProblem& p, std::span<const Tensor> in)
      : p_(p),
        gemm_("cuda_wgmma " + std::string(name_of(p.x_dtype)), operands(nullptr, in[kQgemmW].data),
              epilogue(in[kQgemmBias].as<const float>(), nullptr),
              p.x_dtype == DType::kBf16 ? wgmma_choices<WgmmaType::kBf16>()
                                        : wgmma_choices<WgmmaType::kF16>()) {}

  void run(const Call& call) override {
    gemm_.start(operands(call.in[kQgemmX].data, call.in[kQgemmW].data),
                epilogue(call.in[kQgemmBias].as<const float>(), call.out[kQgemmY].data));
  }

 private:
  [[nodiscard]] WgmmaOperands operands(const void* x, const void* w) const {
    return {{p_.M, p_.N, p_.K}, p_.x_dtype, x, w, {}};
  }
  [[nodiscard]] DeviceEpilogue epilogue(const float* bias, void* y) const {
    return {bias, p_.activation, p_.out_dtype, y};
  }

  QgemmProblem p_;
  WgmmaGemm gemm_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CudaWgmma>(QgemmProblem::from(problem), in);
}

const Registration registration{{
    .op = "qgemm",
    .name = "cuda_wgmma",
    .summary = "CUDA, bf16 and fp16 by wgmma, TMA ring, tiles chosen by trial",
    .needs_cuda = 90,
    .limits = {{.key = "scheme", .values = {"bf16", "fp16"}},
               {.key = "operands", .values = {"float"}},
               {.key = "M", .max = 1 << 30},
               {.key = "N", .max = 1 << 30},
               {.key = "K", .max = 1 << 30, .multiple_of = 8}},
    .arithmetic = tensor_core_arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .unit = "cuda_tensor_bf16",
}};
using LargeTile = cuda::WgmmaTile<2, 256, 4, 2>;
const LaunchesKernel launch_of_products("qgemm/cuda_wgmma", "wgmma_products",
                                        {.threads = LargeTile::kThreads,
                                         .dynamic_shared_bytes = LargeTile::kSharedBytes});

}  // namespace
}  // namespace pareto
