// Baseline: 4-bit weights expanded to 16 bits in every call, then multiplied by cuBLASLt: what a
// fused kernel has to beat.
//
// Bottleneck: the expansion, a kernel of ours that reaches a tenth of the memory's speed on an H200
// (85 of 99 us at 16x4096x4096). A better one would make ratios against this baseline smaller.
// Layout: device pointers, operands as given; workspace: W in the type of x [N,K].
#include "kernels/qgemm/cublaslt_product.cuh"
#include "kernels/qgemm/tensor_core_arithmetic.h"

namespace pareto {
namespace {

__device__ void store_as(__nv_bfloat16* to, float value) { *to = __float2bfloat16_rn(value); }
__device__ void store_as(__half* to, float value) { *to = __float2half_rn(value); }

// w [N,K] = (nibble − 8)·scale, one thread per element.
template <typename T>
__global__ void expand_nibbles(std::int64_t N, std::int64_t K, std::int64_t group,
                               const std::uint8_t* codes, const __half* scales, T* w) {
  const std::int64_t index = thread_index();
  if (index >= N * K) return;
  const MatrixPlace place = matrix_place(index, K);
  const int code = nibble_of(codes[nibble_byte(place.row, place.column, K)], place.column) - 8;
  const __half scale = scales[place.row * ceil_div(K, group) + place.column / group];
  store_as(w + index, static_cast<float>(code) * __half2float(scale));
}

class DequantThenLt : public LtFloats {
 public:
  explicit DequantThenLt(const QgemmProblem& p) : LtFloats(p), p_(p), w_(p.N * p.K) {}

  void run(const Call& call) override {
    if (p_.x_dtype == DType::kBf16) {
      run_as<__nv_bfloat16>(call);
    } else {
      run_as<__half>(call);
    }
  }

 private:
  template <typename T>
  void run_as(const Call& call) {
    launch(expand_nibbles<T>, p_.N * p_.K, p_.N, p_.K, p_.w_group,
           call.in[kQgemmW].as<const std::uint8_t>(), call.in[kQgemmWScale].as<const __half>(),
           reinterpret_cast<T*>(w_.data()));
    run_on(call, w_.data());
  }

  QgemmProblem p_;
  DeviceBuffer<std::uint16_t> w_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<DequantThenLt>(QgemmProblem::from(problem));
}

// Expanded weights are rounded to the type of x.
Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a = tensor_core_arithmetic(problem);
  a.u_operand = QgemmProblem::from(problem).x_dtype == DType::kBf16 ? kUBf16 : kUFp16;
  return a;
}

const Registration registration{{
    .op = "qgemm",
    .name = "cublaslt_dequant",
    .summary = "4-bit weights expanded by a plain kernel of ours, most of its time; then cuBLASLt",
    .needs_cuda = 80,
    .limits = {{.key = "scheme", .values = {"w4a16_g128", "w4a16_g32"}},
               {.key = "operands", .values = {"float"}}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .unit = "cuda_tensor_bf16",
}};
const NeedsCudaLibrary library("qgemm/cublaslt_dequant", kCublasLtSoname);

}  // namespace
}  // namespace pareto
