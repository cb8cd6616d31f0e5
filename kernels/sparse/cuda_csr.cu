// CSR in fp32 with x in shared memory: the sparse product of today's formats, without its gathers.
//
// Idea: with many tokens, 128 columns of x lie transposed in shared memory beside the entries of W
// that belong to them (csr_tile.cuh; after Sputnik: rows sorted by length, wide reads). Bottleneck:
// shared memory, two floats read per lane and entry. With very few tokens, one warp per row of W as
// given (csr_vector.cuh). Bottleneck: memory.
// Layout: many tokens: W repacked in chunks of 64 × 128 (csr_chunks.h); few: operands as given.
// ptxas: hot
#include <memory>
#include <vector>

#include "harness/device_buffer.h"
#include "harness/variant.h"
#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_values.cuh"
#include "kernels/half_to_float.h"
#include "kernels/sparse/csr_tile.cuh"
#include "kernels/sparse/csr_vector.cuh"
#include "kernels/sparse/host_copy.cuh"
#include "kernels/sparse/sparse_lane.cuh"
#include "reference/sparse.h"

namespace pareto {
namespace {

using cuda::CsrOperands;
using cuda::CsrPacked;
using cuda::CsrProblem;
using cuda::CsrTile;
using cuda::CsrVector;

// Above, the tile of 64 tokens costs less.
constexpr std::int64_t kFewTokens = 4;

template <typename T>
__global__ void __launch_bounds__(CsrTile::kThreads, 1)
    csr_many(std::int64_t N, CsrProblem<T> p, DeviceEpilogue epilogue) {
  extern __shared__ __align__(128) unsigned char shared[];
  cuda::SparseLane<T> lane(shared);
  cuda::csr_tile(lane, p, blockIdx.x, std::int64_t{blockIdx.y} * cuda::CsrChunk::kTokens,
                 [&](std::int64_t token, std::int64_t row, float sum) {
                   epilogue.store(token * N + row, row, sum);
                 });
}

template <typename T, int kTokens, bool kShared>
__global__ void __launch_bounds__(CsrVector::kThreads)
    csr_few(std::int64_t tokens, CsrOperands<T> in, DeviceEpilogue epilogue) {
  extern __shared__ __align__(128) unsigned char shared[];
  cuda::SparseLane<T> lane(shared);
  const std::int64_t N = in.N;
  cuda::csr_vector<kTokens, kShared>(lane, in, tokens, std::int64_t{blockIdx.x} * CsrVector::kWarps,
                                     [&](std::int64_t token, std::int64_t row, float sum) {
                                       epilogue.store(token * N + row, row, sum);
                                     });
}

std::vector<float> values_in_fp32(const Tensor& values) {
  std::vector<float> wide(static_cast<std::size_t>(values.elements()));
  if (values.dtype == DType::kF32) return on_host<float>(values);
  const auto codes = on_host<std::uint16_t>(values);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    wide[i] = values.dtype == DType::kBf16 ? widen_bf16(codes[i]) : widen_fp16(codes[i]);
  }
  return wide;
}

CsrPacked packed_chunks(const SparseProblem& p, std::span<const Tensor> in) {
  const std::vector<float> values = values_in_fp32(in[kSparseValues]);
  const auto columns = on_host<std::int32_t>(in[kSparseIndex]);
  const auto offset = on_host<std::int64_t>(in[kSparseOffset]);
  return cuda::pack_csr(p.N, p.K, [&](std::int64_t n) -> cuda::CsrRow {
    const std::int64_t begin = offset[static_cast<std::size_t>(n)];
    return {columns.data() + begin, values.data() + begin,
            offset[static_cast<std::size_t>(n + 1)] - begin};
  });
}

class CudaCsr : public Prepared {
 public:
  CudaCsr(const SparseProblem& problem, const CsrPacked& packed)
      : p_(problem),
        words_(on_device(packed.words)),
        offset_(on_device(packed.offset)),
        row_(on_device(packed.row)),
        chunk_bytes_(packed.longest_bytes) {
    with_device_type(p_.dtype, [&]<typename T>(T* /*type*/) {
      if (p_.M > kFewTokens) {
        // For every layer: the limit is the kernel's, and several layers are prepared at once.
        allow_shared(csr_many<T>, CsrTile::shared_bytes(cuda::CsrChunk::kLongestBytes));
      } else {
        with_tokens([&]<int kTokens>() {
          allow_shared(csr_few<T, kTokens, true>, CsrVector::kMostSharedBytes);
        });
      }
    });
  }

  void run(const Call& call) override {
    with_device_type(p_.dtype, [&]<typename T>(T* /*type*/) {
      if (p_.M > kFewTokens) {
        many<T>(call);
      } else if (p_.M > 0) {
        few<T>(call);
      }
    });
  }

  std::size_t packed_bytes() const override {
    return p_.M > kFewTokens ? words_.bytes() + offset_.bytes() + row_.bytes() : 0;
  }

 private:
  template <typename Body>
  void with_tokens(const Body& body) const {
    if (p_.M <= 1) {
      body.template operator()<1>();
    } else {
      body.template operator()<kFewTokens>();
    }
  }

  template <typename T>
  void many(const Call& call) const {
    const CsrProblem<T> problem{p_.M,          p_.K,           call.in[kSparseX].as<const T>(),
                                words_.data(), offset_.data(), row_.data(),
                                chunk_bytes_};
    const dim3 grid(static_cast<unsigned>(row_.size() / cuda::CsrChunk::kRows),
                    static_cast<unsigned>(ceil_div(p_.M, cuda::CsrChunk::kTokens)));
    launch_grid(csr_many<T>, grid, dim3(CsrTile::kThreads), CsrTile::shared_bytes(chunk_bytes_),
                p_.N, problem, epilogue(call));
  }

  template <typename T>
  void few(const Call& call) const {
    const CsrOperands<T> operands{p_.N,
                                  p_.K,
                                  call.in[kSparseX].as<const T>(),
                                  call.in[kSparseValues].as<const T>(),
                                  call.in[kSparseIndex].as<const std::int32_t>(),
                                  call.in[kSparseOffset].as<const std::int64_t>()};
    const dim3 grid(static_cast<unsigned>(ceil_div(p_.N, CsrVector::kWarps)));
    with_tokens([&]<int kTokens>() {
      if (CsrVector::in_shared(kTokens, p_.K)) {
        launch_grid(csr_few<T, kTokens, true>, grid, dim3(CsrVector::kThreads),
                    static_cast<std::size_t>(4 * kTokens * p_.K), p_.M, operands, epilogue(call));
      } else {
        launch_grid(csr_few<T, kTokens, false>, grid, dim3(CsrVector::kThreads), 0, p_.M, operands,
                    epilogue(call));
      }
    });
  }

  DeviceEpilogue epilogue(const Call& call) const {
    return {call.in[kSparseBias].as<const float>(), p_.activation, p_.out_dtype,
            call.out[kSparseY].data};
  }

  SparseProblem p_;
  DeviceBuffer<std::uint32_t> words_;
  DeviceBuffer<std::uint32_t> offset_;
  DeviceBuffer<std::int32_t> row_;
  int chunk_bytes_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  const SparseProblem p = SparseProblem::from(problem);
  return std::make_unique<CudaCsr>(p, p.M > kFewTokens ? packed_chunks(p, in) : CsrPacked{});
}

Arithmetic arithmetic(const Problem& problem) {
  const SparseProblem p = SparseProblem::from(problem);
  Arithmetic a;
  a.acc_lanes = p.M > kFewTokens ? 1 : cuda::kWarpLanes;
  a.epilogue_roundings = p.has_bias ? 1 : 0;
  return a;
}

const Registration registration{{
    .op = "sparse",
    .name = "cuda_csr",
    .summary = "CUDA, CSR in chunks beside x in shared memory; one warp a row for few tokens",
    .needs_cuda = 90,
    .limits = {{.key = "format", .values = {"csr"}},
               {.key = "M", .max = 65535 * cuda::CsrChunk::kTokens}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .unit = "cuda_fma_fp32",
}};
const LaunchesKernel launch_of_many(
    "sparse/cuda_csr", "csr_many",
    {.threads = CsrTile::kThreads,
     .dynamic_shared_bytes = CsrTile::shared_bytes(cuda::CsrChunk::kLongestBytes)});
const LaunchesKernel launch_of_few("sparse/cuda_csr", "csr_few", {.threads = CsrVector::kThreads});

}  // namespace
}  // namespace pareto
