// bf16 on tensor cores by warp-level products: the second step of the ladder.
//
// Idea: 128 × 128 tiles of y per block; x and w pass through shared memory in three stages of 32 k,
// copied while the stage before is multiplied (mma_tile.cuh). Bottleneck: mma.sync reaches about
// two thirds of Hopper's tensor cores (on Ampere all of them), and every operand fragment passes
// through registers.
// Layout: device pointers, operands as given; no workspace.
// The tile loop runs in the host emulator.
// ptxas: hot
#include <memory>

#include "harness/variant.h"
#include "kernels/cuda_lane.cuh"
#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_values.cuh"
#include "kernels/qgemm/mma_tile.cuh"
#include "kernels/qgemm/tensor_core_arithmetic.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

using cuda::MmaProblem;
using cuda::MmaTile;

// One block per tile of y. 128 registers per thread: two blocks on a multiprocessor.
__global__ void __launch_bounds__(MmaTile::kThreads, 2)
    mma_products(MmaProblem p, DeviceEpilogue epilogue) {
  extern __shared__ __align__(128) unsigned char stages[];
  cuda::DeviceLane lane(stages);
  const std::int64_t N = p.N;
  cuda::mma_tile(lane, p, std::int64_t{blockIdx.y} * MmaTile::kM,
                 std::int64_t{blockIdx.x} * MmaTile::kN,
                 [&](std::int64_t row, std::int64_t column, float sum) {
                   epilogue.store(row * N + column, column, sum);
                 });
}

class CudaMma : public Prepared {
 public:
  explicit CudaMma(const Problem& problem) : p_(QgemmProblem::from(problem)) {
    allow_shared(mma_products, MmaTile::kSharedBytes);
  }

  void run(const Call& call) override {
    const MmaProblem problem{p_.M, p_.N, p_.K, call.in[kQgemmX].as<const std::uint16_t>(),
                             call.in[kQgemmW].as<const std::uint16_t>()};
    const DeviceEpilogue epilogue{call.in[kQgemmBias].as<const float>(), p_.activation,
                                  p_.out_dtype, call.out[kQgemmY].data};
    const dim3 grid(static_cast<unsigned>(ceil_div(p_.N, MmaTile::kN)),
                    static_cast<unsigned>(ceil_div(p_.M, MmaTile::kM)));
    launch_grid(mma_products, grid, dim3(MmaTile::kThreads), MmaTile::kSharedBytes, problem,
                epilogue);
  }

 private:
  QgemmProblem p_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CudaMma>(problem);
}

const Registration registration{{
    .op = "qgemm",
    .name = "cuda_mma",
    .summary = "CUDA, bf16 tensor cores by mma.sync, 128 x 128 tiles, cp.async in 3 stages",
    .needs_cuda = 80,
    .limits = {{.key = "scheme", .values = {"bf16"}},
               {.key = "operands", .values = {"float"}},
               {.key = "M", .max = 65535 * MmaTile::kM}},
    .arithmetic = tensor_core_arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .unit = "cuda_tensor_bf16",
}};
const LaunchesKernel launch_of_products("qgemm/cuda_mma", "mma_products",
                                        {.threads = MmaTile::kThreads,
                                         .dynamic_shared_bytes = MmaTile::kSharedBytes});

}  // namespace
}  // namespace pareto
