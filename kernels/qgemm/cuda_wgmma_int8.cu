// w8a8 on Hopper's integer tensor cores by warpgroup: qgemm/cuda_wgmma with s8 operands and int32
// sums.
//
// Idea: x is quantized by rows in a kernel of its own; the products are those of wgmma_gemm.cuh,
// 128 of k in a stage, tiles chosen by trial; both scales meet the exact sums on their way to y, so
// that no pass over int32 sums follows.
// Bottleneck: the tensor cores; with few rows the reading of w; with a small N the quantization.
// Layout: device pointers, operands as given; workspace s8 [M,K], fp32 [M]. K a multiple of 16: TMA
// wants rows at multiples of 16 bytes.
// ptxas: hot
#include <memory>
#include <span>

#include "harness/device_buffer.h"
#include "harness/variant.h"
#include "kernels/qgemm/quantize_rows.cuh"
#include "kernels/qgemm/wgmma_launch.cuh"
#include "reference/qgemm.h"

namespace pareto {
namespace {

class CudaWgmmaInt8 : public Prepared {
 public:
  CudaWgmmaInt8(const QgemmProblem& p, std::span<const Tensor> in)
      : p_(p),
        codes_(p.M * p.K),
        scales_(zeros(p.M)),
        gemm_("cuda_wgmma_int8", operands(in), epilogue(in, nullptr),
              wgmma_choices<cuda::WgmmaType::kS8>()) {}

  void run(const Call& call) override {
    start_quantize_rows<CodesS8>(p_.M, p_.K, call.in[kQgemmX].as<const float>(), codes_.data(),
                                 scales_.data());
    gemm_.start(operands(call.in), epilogue(call.in, call.out[kQgemmY].data));
  }

 private:
  static DeviceBuffer<float> zeros(std::int64_t count) {
    DeviceBuffer<float> buffer(count);
    if (count > 0) device().fill(buffer.data(), 0, buffer.bytes());
    return buffer;
  }
  [[nodiscard]] WgmmaOperands operands(std::span<const Tensor> in) const {
    return {{p_.M, p_.N, p_.K},
            DType::kS8,
            codes_.data(),
            in[kQgemmW].data,
            {scales_.data(), in[kQgemmWScale].as<const float>()}};
  }
  [[nodiscard]] DeviceEpilogue epilogue(std::span<const Tensor> in, void* y) const {
    return {in[kQgemmBias].as<const float>(), p_.activation, p_.out_dtype, y};
  }

  QgemmProblem p_;
  DeviceBuffer<std::int8_t> codes_;
  DeviceBuffer<float> scales_;
  WgmmaGemm gemm_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CudaWgmmaInt8>(QgemmProblem::from(problem), in);
}

Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.integer_acc = true;
  // Conversion, two scales, bias.
  a.epilogue_roundings = 3 + (QgemmProblem::from(problem).has_bias ? 1 : 0);
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "cuda_wgmma_int8",
    .summary =
        "CUDA, w8a8 by integer wgmma, TMA ring, tiles chosen by trial; scales in the epilogue",
    .needs_cuda = 90,
    .limits = {{.key = "scheme", .values = {"w8a8"}},
               {.key = "operands", .values = {"float"}},
               {.key = "M", .max = 1 << 30},
               {.key = "N", .max = 1 << 30},
               {.key = "K", .max = 1 << 30, .multiple_of = 16}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .unit = "cuda_tensor_int8",
}};
using LargeTile = cuda::WgmmaTile<2, 256, 4, 2>;
const LaunchesKernel launch_of_products("qgemm/cuda_wgmma_int8", "wgmma_products",
                                        {.threads = LargeTile::kThreads,
                                         .dynamic_shared_bytes = LargeTile::kSharedBytes});

}  // namespace
}  // namespace pareto
