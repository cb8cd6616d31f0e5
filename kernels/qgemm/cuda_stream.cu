// bf16 and fp16 for few rows of x: read w once, as fast as memory gives it.
//
// Idea: with few rows of x nothing of w is used twice, so that shared memory and the barriers
// around it would only be in the way. Lanes load 16 bytes of w straight into the registers that
// mma.sync wants them in, several steps ahead; warps share K, and their sums are added up in the
// block (stream_tile.cuh). x comes through L1. `prepare` tries 16 and 32 rows of w in a block.
// Bottleneck: reading w; from about 32 rows of x on w is read once more for each 32.
// Layout: device pointers, operands as given; no workspace. K a multiple of 8: rows at multiples of
// 16 bytes.
// ptxas: hot
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "harness/device_buffer.h"
#include "harness/variant.h"
#include "kernels/cuda_tuning.h"
#include "kernels/qgemm/stream_launch.cuh"
#include "kernels/qgemm/tensor_core_arithmetic.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

template <int Tiles, int Blocks8, int Depth, int AtOnce>
using Tile = cuda::StreamTile<cuda::DenseWeights, Tiles, Blocks8, Depth, AtOnce>;

std::vector<StreamStart> choices(std::int64_t M, bool bf16) {
  if (M <= 8) return {stream_start<Tile<1, 1, 4, 2>>(bf16), stream_start<Tile<2, 1, 2, 2>>(bf16)};
  if (M <= 16) return {stream_start<Tile<1, 2, 3, 2>>(bf16), stream_start<Tile<2, 2, 3, 1>>(bf16)};
  return {stream_start<Tile<1, 4, 3, 1>>(bf16), stream_start<Tile<2, 4, 2, 1>>(bf16)};
}

class CudaStream : public Prepared {
 public:
  CudaStream(const QgemmProblem& p, std::span<const Tensor> in) : p_(p) {
    if (p.M == 0 || p.N == 0) return;
    const std::vector<StreamStart> tried = choices(p.M, p.x_dtype == DType::kBf16);
    const DeviceBuffer<std::uint16_t> x(p.M * p.K);
    const DeviceBuffer<float> y(p.M * p.N);
    if (x.size() > 0) device().fill(x.data(), 0, x.bytes());
    const auto problem = problem_of(x.data(), in[kQgemmW].as<const std::uint16_t>());
    const auto epilogue = epilogue_of(in[kQgemmBias].as<const float>(), y.data());
    std::vector<std::function<void()>> candidates;
    for (const StreamStart start : tried) {
      candidates.emplace_back([&problem, &epilogue, start] { start(problem, epilogue); });
    }
    start_ = tried[quickest("cuda_stream " + std::string(name_of(p.x_dtype)) + " " +
                                std::to_string(p.M) + "x" + std::to_string(p.N) + "x" +
                                std::to_string(p.K),
                            candidates)];
  }

  void run(const Call& call) override {
    if (start_ == nullptr) return;
    start_(problem_of(call.in[kQgemmX].as<const std::uint16_t>(),
                      call.in[kQgemmW].as<const std::uint16_t>()),
           epilogue_of(call.in[kQgemmBias].as<const float>(), call.out[kQgemmY].data));
  }

 private:
  [[nodiscard]] cuda::StreamProblem problem_of(const std::uint16_t* x,
                                               const std::uint16_t* w) const {
    return {p_.M, p_.N, p_.K, x, w, nullptr};
  }
  [[nodiscard]] DeviceEpilogue epilogue_of(const float* bias, void* y) const {
    return {bias, p_.activation, p_.out_dtype, y};
  }

  QgemmProblem p_;
  StreamStart start_ = nullptr;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CudaStream>(QgemmProblem::from(problem), in);
}

const Registration registration{{
    .op = "qgemm",
    .name = "cuda_stream",
    .summary = "CUDA, bf16 and fp16, w straight from memory into mma.sync's registers",
    .needs_cuda = 80,
    .limits = {{.key = "scheme", .values = {"bf16", "fp16"}},
               {.key = "operands", .values = {"float"}},
               {.key = "M", .max = 1 << 16},
               {.key = "N", .max = 1 << 20},
               {.key = "K", .max = 1 << 30, .multiple_of = 8}},
    .arithmetic = tensor_core_arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .unit = "cuda_tensor_bf16",
}};
const LaunchesKernel launch_of_products("qgemm/cuda_stream", "stream_products",
                                        {.threads = Tile<1, 1, 4, 2>::kThreads,
                                         .dynamic_shared_bytes = Tile<2, 2, 3, 1>::kSharedBytes});

}  // namespace
}  // namespace pareto
