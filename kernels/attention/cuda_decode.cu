// Attention of a few queries on tensor cores, the keys split over the multiprocessors.
//
// Idea: the rows of q that share a KV head are one operand of 16 rows, so that K and V are read
// once; every warp streams tiles of 16 keys through a ring of its own (decode_block.cuh). Each
// block leaves fp32 sums; the block of a KV head that finishes last adds them up in ascending order
// of the splits, so the bits do not depend on which one that is. Its counter is 0 again afterwards.
// Bottleneck: the bytes of K and V from device memory.
// Layout: device pointers, operands as given; workspace: partial sums, counters.
// Source of the idea: FlashAttention's split-KV decoding; the last block: CUDA's
// threadFenceReduction sample.
// ptxas: hot
#include <memory>
#include <numbers>
#include <vector>

#include "harness/device_buffer.h"
#include "harness/variant.h"
#include "kernels/attention/decode_block.cuh"
#include "kernels/attention/decode_splits.cuh"
#include "kernels/cuda_lane.cuh"
#include "kernels/cuda_launch.cuh"
#include "reference/attention.h"

namespace pareto {
namespace {

using cuda::DecodePartials;
using cuda::DecodePlace;
using cuda::DecodeProblem;
using cuda::DecodeTile;
using cuda::RowEnds;

/// Where results go. Counters [units] are 0 between launches.
struct DecodeOutputs {
  std::uint16_t* o = nullptr;
  float* lse = nullptr;
  DecodePartials partials;
  unsigned* counters = nullptr;
};

/// One rounded element.
template <bool kBf16>
__device__ std::uint16_t rounded(cuda::DeviceLane& lane, float value) {
  return static_cast<std::uint16_t>(cuda::pack_half<kBf16>(lane, value, 0));
}

/// True in all threads of the block of a unit that comes last; every block's sums are there then.
__device__ bool comes_last(unsigned* counter, unsigned blocks) {
  __shared__ bool last;
  __threadfence();  // this thread's sums, before the block is counted
  __syncthreads();
  if (threadIdx.x == 0) last = atomicInc(counter, blocks - 1) == blocks - 1;  // and back to 0
  __syncthreads();
  __threadfence();
  return last;
}

template <int kDim, bool kBf16>
__global__ void __launch_bounds__(DecodeTile<kDim>::kThreads)
    decode(DecodeProblem p, DecodeOutputs out) {
  using Tile = DecodeTile<kDim>;
  extern __shared__ __align__(128) unsigned char rings[];
  cuda::DeviceLane lane(rings);
  const DecodePlace at = cuda::decode_place(p, blockIdx.x);
  const std::int64_t first_row = at.slice * p.rows + at.row_tile * Tile::kRows;
  if (p.splits == 1) {
    cuda::decode_block<Tile, kBf16>(lane, p, at,
                                    [&](int row, int column, float sum, const RowEnds& ends) {
                                      out.o[(first_row + row) * kDim + column] =
                                          rounded<kBf16>(lane, cuda::row_output(sum, ends.sum));
                                      if (column == 0)
                                        out.lse[first_row + row] = cuda::row_lse(ends);
                                    });
    return;
  }
  cuda::decode_block<Tile, kBf16>(
      lane, p, at, [&](int row, int column, float sum, const RowEnds& ends) {
        const std::int64_t index = DecodePartials::index(p, at.unit, at.split, row);
        out.partials.sums[index * kDim + column] = sum;
        if (column == 0) out.partials.ends[index] = ends;
      });
  if (!comes_last(out.counters + at.unit, static_cast<unsigned>(p.splits))) return;
  cuda::combine_splits<Tile>(
      lane, p, at, out.partials,
      [&](int row, int column, const float(&value)[4]) {
        std::uint16_t* to = out.o + (first_row + row) * kDim + column;
        lane.store_pair(to, cuda::pack_half<kBf16>(lane, value[0], value[1]));
        lane.store_pair(to + 2, cuda::pack_half<kBf16>(lane, value[2], value[3]));
      },
      [&](int row, float lse) { out.lse[first_row + row] = lse; });
}

class CudaDecode : public Prepared {
 public:
  explicit CudaDecode(const AttentionProblem& p, int blocks_per_sm) : p_(p) {
    d_.rows = p.group() * p.seq_q;
    d_.seq_q = p.seq_q;
    d_.seq_kv = p.seq_kv;
    d_.key_end = p.seq_q > 0 ? p.visible(p.seq_q - 1, p.seq_q, p.seq_kv).hi : 0;
    d_.offset = p.offset(p.seq_q, p.seq_kv);
    d_.causal = p.mask != AttentionMask::kNone;
    d_.scale_log2 = static_cast<float>(p.scale * std::numbers::log2e);
    d_.row_tiles = ceil_div(d_.rows, 16);
    units_ = p.batch * p.heads_kv * d_.row_tiles;
    const DecodeSplits splits = decode_splits(
        units_, d_.key_end, std::int64_t{blocks_per_sm} * device().info().multiprocessors);
    d_.splits = splits.count;
    d_.split_keys = splits.keys;
    with_kernel([](auto tile, auto kernel) { allow_shared(kernel, tile.kSharedBytes); });
    if (d_.splits == 1 || units_ == 0) return;
    sums_ = DeviceBuffer<float>(units_ * d_.splits * 16 * p.head_dim);
    ends_ = DeviceBuffer<RowEnds>(units_ * d_.splits * 16);
    counters_ = DeviceBuffer<unsigned>(units_);
    counters_.upload(std::vector<unsigned>(static_cast<std::size_t>(units_), 0));
  }

  void run(const Call& call) override {
    DecodeProblem problem = d_;
    problem.q = call.in[kAttentionQ].as<const std::uint16_t>();
    problem.k = call.in[kAttentionK].as<const std::uint16_t>();
    problem.v = call.in[kAttentionV].as<const std::uint16_t>();
    const DecodeOutputs outputs{call.out[kAttentionO].as<std::uint16_t>(),
                                call.out[kAttentionLse].as<float>(),
                                {sums_.data(), ends_.data()},
                                counters_.data()};
    const dim3 grid(static_cast<unsigned>(units_ * d_.splits));
    with_kernel([&](auto tile, auto kernel) {
      launch_grid(kernel, grid, dim3(tile.kThreads), tile.kSharedBytes, problem, outputs);
    });
  }

 private:
  template <typename Body>
  void with_kernel(const Body& body) const {
    const bool bf16 = p_.q_dtype == DType::kBf16;
    if (p_.head_dim == 64) {
      bf16 ? body(DecodeTile<64>{}, decode<64, true>) : body(DecodeTile<64>{}, decode<64, false>);
    } else {
      bf16 ? body(DecodeTile<128>{}, decode<128, true>)
           : body(DecodeTile<128>{}, decode<128, false>);
    }
  }

  AttentionProblem p_;
  DecodeProblem d_;
  std::int64_t units_ = 0;
  DeviceBuffer<float> sums_;
  DeviceBuffer<RowEnds> ends_;
  DeviceBuffer<unsigned> counters_;
};

template <int kBlocksPerSm>
std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CudaDecode>(AttentionProblem::from(problem), kBlocksPerSm);
}

std::string declines(const Problem& problem) {
  const AttentionProblem p = AttentionProblem::from(problem);
  if (p.softcap != 0) return "softcap: none here";
  if (p.head_dim != p.head_dim_v) return "head_dim_v: that of q and k alone";
  return "";
}

// Tensor cores sum the 16 products of one step and the accumulator at once, and cut off; P is
// rounded to the type of V, the row sum adds it before. A warp takes 16 keys at a time.
Arithmetic arithmetic(const Problem& problem) {
  Arithmetic a;
  a.u_acc = 0x1p-23;
  a.acc_truncates = true;
  a.acc_block = 16;
  a.kv_block = cuda::kMmaKeys;
  const bool bf16 = AttentionProblem::from(problem).q_dtype == DType::kBf16;
  a.u_p = bf16 ? kUBf16 : kUFp16;
  a.p_underflow = bf16 ? 0x1p-126 : 0x1p-25;  // smaller weights become 0
  a.leaks_nonfinite = true;
  return a;
}

Variant variant(const char* name,
                std::unique_ptr<Prepared> (*prepare_with)(const Problem&, std::span<const Tensor>,
                                                          ThreadPool&)) {
  return {.op = "attention",
          .name = name,
          .summary = "CUDA, up to 16 queries, tensor cores, split keys, one launch",
          .needs_cuda = 80,
          .limits = {{.key = "layout", .values = {"dense"}},
                     {.key = "dtype", .values = {"bf16", "fp16"}},
                     {.key = "kv_dtype", .values = {"same"}},
                     {.key = "out_dtype", .values = {"same"}},
                     {.key = "seq_q", .max = kAttentionDecodeRows},
                     {.key = "head_dim", .min = 64, .max = 128, .multiple_of = 64},
                     {.key = "head_dim_v", .min = 64, .max = 128, .multiple_of = 64},
                     {.key = "window_left", .max = -1},
                     {.key = "window_right", .max = -1},
                     {.key = "v", .values = {"given"}},
                     {.key = "bias", .values = {"none"}},
                     {.key = "allowed", .values = {"none"}},
                     {.key = "alibi", .values = {"none"}},
                     {.key = "sinks", .values = {"none"}}},
          .declines = declines,
          .arithmetic = arithmetic,
          .prepare = prepare_with,
          .keeps_operands = true,
          .unit = "cuda_tensor_bf16"};
}

const Registration few_blocks{variant("cuda_decode_a", prepare<1>)};
const Registration more_blocks{variant("cuda_decode_b", prepare<2>)};
const LaunchesKernel launch_a("attention/cuda_decode_a", "decode",
                              {.threads = DecodeTile<128>::kThreads,
                               .dynamic_shared_bytes = DecodeTile<128>::kSharedBytes});
const LaunchesKernel launch_b("attention/cuda_decode_b", "decode",
                              {.threads = DecodeTile<128>::kThreads,
                               .dynamic_shared_bytes = DecodeTile<128>::kSharedBytes});

}  // namespace
}  // namespace pareto
