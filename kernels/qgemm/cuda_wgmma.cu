// bf16 and fp16 on Hopper's tensor cores by warpgroup: the third step of the ladder.
//
// Idea: TMA brings 64-wide slices of x and w into a ring of stages, swizzled as wgmma reads them;
// one warpgroup does nothing but start these loads, two multiply 64 × 256 of y each from shared
// memory. Two neighbouring blocks share the loads of w by multicast: without it a 128 × 256 tile
// asks more of L2 than it gives. Blocks stay and take tile after tile, so that the loads of the
// next tile run while the last one is stored. After fast.cu and DeepGEMM.
// Bottleneck: the tensor cores; below about M = 128 the reading of w, for which smaller tiles
// spread it over more multiprocessors (wgmma_layout.h estimates which).
// Layout: device pointers, operands as given; no workspace. K a multiple of 8: TMA wants rows at
// multiples of 16 bytes.
// ptxas: hot
#include <memory>
#include <vector>

#include "harness/variant.h"
#include "kernels/qgemm/wgmma_launch.cuh"
#include "reference/qgemm.h"

namespace pareto {
namespace {

using cuda::WgmmaTile;
using cuda::WgmmaType;

using LargeTile = WgmmaTile<2, 256, 4, 2>;

class CudaWgmma : public Prepared {
 public:
  CudaWgmma(const QgemmProblem& p, const std::vector<WgmmaChoice>& choices)
      : p_(p), gemm_(p.M, p.N, choices) {}

  void run(const Call& call) override {
    gemm_.start({{p_.M, p_.N, p_.K}, p_.x_dtype, call.in[kQgemmX].data, call.in[kQgemmW].data, {}},
                {call.in[kQgemmBias].as<const float>(), p_.activation, p_.out_dtype,
                 call.out[kQgemmY].data});
  }

 private:
  QgemmProblem p_;
  WgmmaGemm gemm_;
};

template <class Largest>
std::unique_ptr<Prepared> prepare_with(const Problem& problem) {
  const auto p = QgemmProblem::from(problem);
  return std::make_unique<CudaWgmma>(p, p.x_dtype == DType::kBf16
                                            ? wgmma_choices<Largest, WgmmaType::kBf16>()
                                            : wgmma_choices<Largest, WgmmaType::kF16>());
}

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return prepare_with<LargeTile>(problem);
}

std::unique_ptr<Prepared> prepare_a(const Problem& problem, std::span<const Tensor> /*in*/,
                                    ThreadPool& /*pool*/) {
  return prepare_with<WgmmaTile<2, 256, 4, 1>>(problem);
}

// Tensor cores sum the 16 products of one step and the accumulator at once, and cut off.
Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.u_acc = 0x1p-23;
  a.acc_truncates = true;
  a.acc_block = 16;
  a.epilogue_roundings = QgemmProblem::from(problem).has_bias ? 1 : 0;
  return a;
}

Variant variant(const char* name, const char* summary, decltype(Variant::prepare) prepare_it) {
  return {
      .op = "qgemm",
      .name = name,
      .summary = summary,
      .needs_cuda = 90,
      .limits = {{.key = "scheme", .values = {"bf16", "fp16"}},
                 {.key = "operands", .values = {"float"}},
                 {.key = "M", .max = 1 << 30},
                 {.key = "N", .max = 1 << 30},
                 {.key = "K", .max = 1 << 30, .multiple_of = 8}},
      .arithmetic = arithmetic,
      .prepare = prepare_it,
      .keeps_operands = true,
      .unit = "cuda_tensor_bf16",
  };
}

const Registration registration{variant(
    "cuda_wgmma", "CUDA, bf16 and fp16 by wgmma, TMA ring, clusters of 2 share w", prepare)};
const Registration registration_a{
    variant("cuda_wgmma_a", "CUDA, bf16 and fp16 by wgmma, TMA ring, no clusters", prepare_a)};
const LaunchesKernel launch_of_products("qgemm/cuda_wgmma", "wgmma_products",
                                        {.threads = LargeTile::kThreads,
                                         .dynamic_shared_bytes = LargeTile::kSharedBytes});

}  // namespace
}  // namespace pareto
