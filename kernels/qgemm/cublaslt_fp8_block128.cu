// Baseline: fp8 E4M3 with scales of 128 × 128 of w and of 128 of a row of x, which cuBLASLt applies
// itself (its modes BLK128x128 and VEC128: CUDA 12.9 or later, Hopper alone).
//
// x is quantized by a kernel of ours inside `run`; bias and activation are a pass of ours.
// Layout: device pointers, codes as given; the scales of w in rows of whole 4, fp32
// [⌈N/128⌉,⌈K/128⌉ rounded up]; workspace E4M3 [M,K], fp32 [⌈K/128⌉,M], fp32 [M,N].
#include "kernels/qgemm/cublaslt_fp8_product.cuh"

namespace pareto {
namespace {

constexpr std::int64_t kBlock = 128;

constexpr std::int64_t padded_blocks(std::int64_t K) {
  return ceil_div(ceil_div(K, kBlock), 4) * 4;
}

// Row by row into longer rows; one thread per element of `to` [rows,to_columns].
__global__ void pad_rows(std::int64_t rows, std::int64_t columns, std::int64_t to_columns,
                         const float* from, float* to) {
  const std::int64_t index = thread_index();
  if (index >= rows * to_columns) return;
  const MatrixPlace place = matrix_place(index, to_columns);
  to[index] = place.column < columns ? from[place.row * columns + place.column] : 0;
}

__global__ void quantize_groups(std::int64_t M, std::int64_t K, const float* x, std::uint8_t* codes,
                                float* scales) {
  cuda::DeviceThread lane;
  cuda::quantize_row_group<CodesE4m3>(lane, thread_index(), M, K, kBlock, x, codes, scales);
}

class LtBlocks : public Prepared {
 public:
  LtBlocks(const QgemmProblem& p, const Tensor& w_scale)
      : p_(p),
        codes_(p.M * p.K),
        x_scales_(p.M * ceil_div(p.K, kBlock)),
        w_scales_(ceil_div(p.N, kBlock) * padded_blocks(p.K)),
        sums_(p.M * p.N) {
    if (p.M == 0 || p.N == 0 || p.K == 0) return;
    LtTypes types = kLtFp8Types;
    types.block_scales = true;
    product_ = std::make_unique<LtProduct>(p.M, p.N, p.K, types);
    product_->set_block_scales(x_scales_.data(), w_scales_.data());
    const std::int64_t rows = ceil_div(p.N, kBlock);
    launch(pad_rows, rows * padded_blocks(p.K), rows, ceil_div(p.K, kBlock), padded_blocks(p.K),
           w_scale.as<const float>(), w_scales_.data());
  }

  void run(const Call& call) override {
    if (product_ == nullptr) {
      if (sums_.bytes() > 0) {
        check_cuda(cudaMemsetAsync(sums_.data(), 0, sums_.bytes(), call_stream()), "memset");
      }
    } else {
      launch(quantize_groups, p_.M * ceil_div(p_.K, kBlock) * cuda::kWarpLanes, p_.M, p_.K,
             call.in[kQgemmX].as<const float>(), codes_.data(), x_scales_.data());
      product_->run(codes_.data(), call.in[kQgemmW].data, sums_.data());
    }
    const DeviceEpilogue epilogue{call.in[kQgemmBias].as<const float>(), p_.activation,
                                  p_.out_dtype, call.out[kQgemmY].data};
    launch(scale_sums<float>, p_.M * p_.N, p_.M, p_.N, sums_.data(),
           static_cast<const float*>(nullptr), static_cast<const float*>(nullptr), epilogue);
  }

 private:
  QgemmProblem p_;
  std::unique_ptr<LtProduct> product_;
  DeviceBuffer<std::uint8_t> codes_;
  DeviceBuffer<float> x_scales_;
  DeviceBuffer<float> w_scales_;
  DeviceBuffer<float> sums_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<LtBlocks>(QgemmProblem::from(problem), in[kQgemmWScale]);
}

Arithmetic arithmetic(const Problem& problem) { return lt_fp8_arithmetic(problem, false); }

// Rows of whole 16 bytes, and whole 4 rows.
const Registration registration{{
    .op = "qgemm",
    .name = "cublaslt_fp8_block128",
    .summary = "cuBLASLt, fp8 E4M3 tensor cores, scales of 128 x 128 and of 128 of K",
    .needs_cuda = 90,
    .limits = {{.key = "scheme", .values = {"fp8_e4m3_block128"}},
               {.key = "operands", .values = {"float"}},
               {.key = "M", .multiple_of = 4},
               {.key = "N", .multiple_of = 16},
               {.key = "K", .multiple_of = 16}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .unit = "cuda_tensor_fp8",
}};
const NeedsCudaLibrary library("qgemm/cublaslt_fp8_block128", kCublasLtSoname);

}  // namespace
}  // namespace pareto
