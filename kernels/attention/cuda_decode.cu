// Attention of a few queries on tensor cores, the keys split over the multiprocessors.
//
// Idea: the rows of q that share a KV head are one operand of 16 rows, so that K and V are read
// once; every warp streams tiles of 16 keys through a ring of its own (decode_block.cuh). The sums
// of the splits are added up in ascending order, so the bits do not depend on who comes first, in
// one of two ways: the block of a KV head that finishes last reads what the others left in device
// memory (its counter is 0 again afterwards), or the blocks are a cluster and read each other's
// shared memory. Into how many splits and which way is tried in `prepare`.
// Bottleneck: the bytes of K and V from device memory; for few of them the latency of their first
// bytes and of the sum over the splits.
// Layout: device pointers, operands as given; workspace: partial sums, counters.
// Source of the idea: FlashAttention's split-KV decoding; the last block: CUDA's
// threadFenceReduction sample.
// ptxas: hot
#include <algorithm>
#include <functional>
#include <memory>
#include <numbers>
#include <optional>
#include <vector>

#include "harness/device_buffer.h"
#include "harness/variant.h"
#include "kernels/attention/cuda_dense.h"
#include "kernels/attention/cuda_trial.cuh"
#include "kernels/attention/decode_block.cuh"
#include "kernels/attention/decode_cluster.cuh"
#include "kernels/attention/decode_splits.cuh"
#include "kernels/cuda_lane.cuh"
#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_tuning.h"
#include "kernels/hopper_asm.cuh"
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

/// The splits of a unit are the blocks of one cluster, which hand each other their sums.
template <int kDim, bool kBf16>
__global__ void __launch_bounds__(DecodeTile<kDim>::kThreads)
    decode_clusters(DecodeProblem p, DecodeOutputs out) {
#if __CUDA_ARCH__ >= 900
  using Tile = DecodeTile<kDim>;
  extern __shared__ __align__(128) unsigned char rings[];
  cuda::DeviceLane lane(rings);
  const DecodePlace at = cuda::decode_cluster_place(p, blockIdx.x);
  const std::int64_t first_row = at.slice * p.rows + at.row_tile * Tile::kRows;
  cuda::decode_block<Tile, kBf16>(
      lane, p, at, [&](int row, int column, float sum, const RowEnds& ends) {
        cuda::DecodeClusterPart<Tile>::store(lane, row, column, sum, ends);
      });
  cuda::cluster_barrier();
  const std::uint32_t shared = cuda::shared_address(rings);
  cuda::combine_cluster<Tile>(
      lane, p, at,
      [&](int split, std::uint32_t offset) {
        return cuda::load_cluster(shared + offset, static_cast<std::uint32_t>(split));
      },
      [&](int row, int column, float value) {
        out.o[(first_row + row) * kDim + column] = rounded<kBf16>(lane, value);
      },
      [&](int row, float lse) { out.lse[first_row + row] = lse; });
  cuda::cluster_barrier_at_end();
#endif
}

/// All launches of one way to split the keys.
class DecodePlan {
 public:
  DecodePlan(const AttentionProblem& p, const DecodeProblem& d, const DecodeSplits& splits)
      : bf16_(p.q_dtype == DType::kBf16),
        head_dim_(p.head_dim),
        clustered_(splits.clustered),
        d_(d),
        units_(p.batch * p.heads_kv * d.row_tiles) {
    d_.splits = splits.count;
    d_.split_keys = splits.keys;
    with_kernel([](auto tile, auto kernel) { allow_shared(kernel, tile.kSharedBytes); });
    if (clustered_ || d_.splits == 1 || units_ == 0) return;
    sums_ = DeviceBuffer<float>(units_ * d_.splits * 16 * p.head_dim);
    ends_ = DeviceBuffer<RowEnds>(units_ * d_.splits * 16);
    counters_ = DeviceBuffer<unsigned>(units_);
    counters_.upload(std::vector<unsigned>(static_cast<std::size_t>(units_), 0));
  }

  void start(const AttentionPointers& to) const {
    DecodeProblem problem = d_;
    problem.q = to.q;
    problem.k = to.k;
    problem.v = to.v;
    const DecodeOutputs outputs{to.o, to.lse, {sums_.data(), ends_.data()}, counters_.data()};
    const dim3 grid(static_cast<unsigned>(units_ * d_.splits));
    with_kernel([&](auto tile, auto kernel) {
      launch_clusters(kernel, grid, dim3(tile.kThreads), tile.kSharedBytes,
                      clustered_ ? static_cast<int>(d_.splits) : 1, problem, outputs);
    });
  }

  /// Whether the device can run such a cluster, of more than the 8 blocks that all of compute
  /// capability 9.0 can.
  [[nodiscard]] bool allow_large_cluster() const {
    int clusters = 0;
    with_kernel([&](auto tile, auto kernel) {
      cudaLaunchAttribute attribute{};
      attribute.id = cudaLaunchAttributeClusterDimension;
      attribute.val.clusterDim = {static_cast<unsigned>(d_.splits), 1, 1};
      cudaLaunchConfig_t config{};
      config.gridDim = dim3(static_cast<unsigned>(d_.splits));
      config.blockDim = dim3(tile.kThreads);
      config.dynamicSmemBytes = tile.kSharedBytes;
      config.attrs = &attribute;
      config.numAttrs = 1;
      if (cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1) !=
              cudaSuccess ||
          cudaOccupancyMaxActiveClusters(&clusters, kernel, &config) != cudaSuccess) {
        clusters = 0;
        cudaGetLastError();  // only this plan is lost
      }
    });
    return clusters > 0;
  }

 private:
  template <typename Body>
  void with_kernel(const Body& body) const {
    if (head_dim_ == 64) {
      bf16_ ? with_kernel_of<64, true>(body) : with_kernel_of<64, false>(body);
    } else {
      bf16_ ? with_kernel_of<128, true>(body) : with_kernel_of<128, false>(body);
    }
  }
  template <int kDim, bool kBf16, typename Body>
  void with_kernel_of(const Body& body) const {
    body(DecodeTile<kDim>{}, clustered_ ? decode_clusters<kDim, kBf16> : decode<kDim, kBf16>);
  }

  bool bf16_;
  std::int64_t head_dim_;
  bool clustered_;
  DecodeProblem d_;
  std::int64_t units_;
  DeviceBuffer<float> sums_;
  DeviceBuffer<RowEnds> ends_;
  DeviceBuffer<unsigned> counters_;
};

DecodeProblem decode_problem(const AttentionProblem& p) {
  DecodeProblem d;
  d.rows = p.group() * p.seq_q;
  d.seq_q = p.seq_q;
  d.seq_kv = p.seq_kv;
  d.key_end = p.seq_q > 0 ? p.visible(p.seq_q - 1, p.seq_q, p.seq_kv).hi : 0;
  d.offset = p.offset(p.seq_q, p.seq_kv);
  d.causal = p.mask != AttentionMask::kNone;
  d.scale_log2 = static_cast<float>(p.scale * std::numbers::log2e);
  d.row_tiles = ceil_div(d.rows, 16);
  return d;
}

/// The ways to split that this device can run, the likeliest first.
std::vector<DecodeSplits> runnable_splits(const AttentionProblem& p, const DecodeProblem& d) {
  constexpr int kPortableCluster = 8;
  const bool clusters = device().info().capability >= 90;
  std::vector<DecodeSplits> all =
      decode_candidates(p.batch * p.heads_kv * d.row_tiles, d.key_end,
                        device().info().multiprocessors, clusters ? cuda::kDecodeCluster : 0);
  std::erase_if(all, [&](const DecodeSplits& splits) {
    return splits.clustered && splits.count > kPortableCluster &&
           !DecodePlan(p, d, splits).allow_large_cluster();
  });
  return all;
}

/// The quickest of them, tried on operands of this problem's sizes.
DecodeSplits chosen_splits(const AttentionProblem& p, const DecodeProblem& d) {
  const std::vector<DecodeSplits> all = runnable_splits(p, d);
  if (!AttentionTrial::fits(p)) return all.front();
  std::optional<AttentionTrial> trial;  // made with the first call: later problems do not try
  std::vector<std::optional<DecodePlan>> plans(all.size());
  std::vector<std::function<void()>> calls;
  for (std::size_t i = 0; i < all.size(); ++i) {
    calls.emplace_back([&, i] {
      if (!trial) trial.emplace(p);
      if (!plans[i]) plans[i].emplace(p, d, all[i]);
      plans[i]->start(trial->pointers());
    });
  }
  return all[quickest(AttentionTrial::key("cuda_decode", p), calls)];
}

class CudaDecode : public Prepared {
 public:
  CudaDecode(const AttentionProblem& p, const DecodeProblem& d)
      : plan_(p, d, chosen_splits(p, d)) {}
  void run(const Call& call) override { plan_.start(AttentionPointers::of(call)); }

 private:
  DecodePlan plan_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  const AttentionProblem p = AttentionProblem::from(problem);
  return std::make_unique<CudaDecode>(p, decode_problem(p));
}

std::string declines(const Problem& problem) {
  return cuda_tile_declines(AttentionProblem::from(problem));
}

// A warp takes 16 keys at a time.
Arithmetic arithmetic(const Problem& problem) {
  return tensor_core_attention(problem, cuda::kMmaKeys, kFlushedWeight);
}

const Registration registration{{
    .op = "attention",
    .name = "cuda_decode",
    .summary = "CUDA, up to 16 queries, tensor cores, split keys, one launch",
    .needs_cuda = 80,
    .limits = cuda_tile_limits({{.key = "seq_q", .max = kAttentionDecodeRows}}),
    .declines = declines,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .unit = "cuda_tensor_bf16",
}};
constexpr KernelLaunch kLaunch{.threads = DecodeTile<128>::kThreads,
                               .dynamic_shared_bytes = DecodeTile<128>::kSharedBytes};
const LaunchesKernel launch_decode("attention/cuda_decode", "decode", kLaunch);
const LaunchesKernel launch_decode_clusters("attention/cuda_decode", "decode_clusters", kLaunch);

}  // namespace
}  // namespace pareto
