// Fused attention on Hopper's tensor cores by warpgroup: the third step of the ladder.
//
// Idea: one warpgroup does nothing but start TMA loads of K and V into a ring of four stages; two
// others have 64 rows of q each, P in registers: P·V of one tile of keys runs beside Q·Kᵀ of the
// next and its exponentials. Heads take turns, long tiles of a causal mask first, so that the last
// blocks to end are short. Blocks may stay for several tiles of q: the next rows of q and the first
// keys then come while the last rows are stored. Which of these orders is tried in `prepare`.
// Bottleneck: the tensor cores at d = 128; the exponentials about as much at d = 64.
// Layout: device pointers, operands as given; no workspace.
// Source of the idea: FlashAttention-3.
// ptxas: hot
#include <algorithm>
#include <functional>
#include <memory>
#include <numbers>
#include <optional>
#include <string>
#include <vector>

#include "harness/variant.h"
#include "kernels/attention/cuda_dense.h"
#include "kernels/attention/cuda_trial.cuh"
#include "kernels/attention/flash_warpgroups.cuh"
#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_tuning.h"
#include "kernels/tensor_map.cuh"
#include "reference/attention.h"

namespace pareto {
namespace {

using cuda::FlashMaps;
using cuda::FlashOverlapped;
using cuda::FlashProblem;
using cuda::FlashWgmmaTile;
using cuda::FlashWork;

template <typename Tile, bool kBf16>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    attend_warpgroups(const __grid_constant__ FlashMaps maps,
                      const __grid_constant__ FlashProblem p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(1024) unsigned char shared[];
  const cuda::FlashBarriers<Tile> barriers{
      static_cast<std::uint32_t>(__cvta_generic_to_shared(shared))};
  const FlashWork work{p.heads * ceil_div(p.seq_q, Tile::kRows), gridDim.x, blockIdx.x};
  if (threadIdx.x == 0) barriers.init();
  __syncthreads();
  // The same in all lanes, and the compiler sees it.
  const int warpgroup =
      static_cast<int>(__shfl_sync(0xffffffffU, threadIdx.x / cuda::kWarpgroupThreads, 0));
  if (warpgroup == 0) {
    cuda::give_registers<Tile::kProducerRegisters>();
    if (threadIdx.x == 0) {
      cuda::FlashProducer<Tile> producer{barriers, maps, p, {}};
      cuda::load_flash_tiles(producer, work, Tile::kStages, Tile::kQBuffers);
    }
  } else {
    cuda::take_registers<Tile::kConsumerRegisters>();
    cuda::DeviceThread lane;
    const int warp = static_cast<int>(threadIdx.x) % cuda::kWarpgroupThreads / cuda::kWarpLanes;
    cuda::FlashConsumer<Tile, kBf16> rows(lane, barriers, p, warpgroup - 1, warp);
    cuda::attend_flash_tiles<FlashOverlapped>(rows, work, Tile::kStages, Tile::kQBuffers);
  }
#endif
}

class CudaFlashWgmma : public Prepared {
 public:
  explicit CudaFlashWgmma(const AttentionProblem& p) : p_(p) {
    f_.heads = p.batch * p.heads_q;
    f_.heads_q = p.heads_q;
    f_.heads_kv = p.heads_kv;
    f_.seq_q = static_cast<int>(p.seq_q);
    f_.seq_kv = static_cast<int>(p.seq_kv);
    f_.offset = static_cast<int>(p.offset(p.seq_q, p.seq_kv));
    f_.causal = p.mask != AttentionMask::kNone;
    f_.scale_log2 = static_cast<float>(p.scale * std::numbers::log2e);
    with_kernel([](auto tile, auto kernel) { allow_shared(kernel, tile.kSharedBytes); });
    schedule_ = chosen_schedule();
  }

  void run(const Call& call) override { start(AttentionPointers::of(call), schedule_); }

 private:
  /// Which tiles come one after the other: heads that take turns, and whether the blocks are as
  /// many as multiprocessors, each with several tiles, or as many as tiles.
  struct Schedule {
    std::int64_t group_heads = 1;
    bool stays = false;
  };

  void start(const AttentionPointers& to, const Schedule& schedule) const {
    if (f_.heads * p_.seq_q == 0) return;
    FlashProblem problem = f_;
    problem.group_heads = schedule.group_heads;
    problem.o = to.o;
    problem.lse = to.lse;
    const std::int64_t seen = p_.visible(p_.seq_q - 1, p_.seq_q, p_.seq_kv).hi;
    with_kernel([&](auto tile, auto kernel) {
      using Tile = decltype(tile);
      const FlashMaps maps{map_of(to.q, p_.seq_q, p_.seq_q, f_.heads, Tile::kConsumerRows),
                           map_of(to.k, seen, p_.seq_kv, p_.batch * p_.heads_kv, Tile::kKeys),
                           map_of(to.v, seen, p_.seq_kv, p_.batch * p_.heads_kv, Tile::kKeys)};
      const std::int64_t tiles = f_.heads * ceil_div(p_.seq_q, Tile::kRows);
      const std::int64_t multiprocessors = device().info().multiprocessors;
      const std::int64_t blocks = schedule.stays ? std::min(tiles, multiprocessors) : tiles;
      launch_grid(kernel, dim3(static_cast<unsigned>(blocks)), dim3(Tile::kThreads),
                  Tile::kSharedBytes, maps, problem);
    });
  }

  /// The quickest, tried on operands of this problem's sizes.
  [[nodiscard]] Schedule chosen_schedule() const {
    const std::int64_t group = cuda::flash_group_heads(f_, static_cast<int>(p_.head_dim));
    const Schedule all[] = {
        {group, false}, {group, true}, {1, false}, {f_.heads, false}, {f_.heads, true}};
    if (!AttentionTrial::fits(p_)) return all[0];
    std::optional<AttentionTrial> trial;  // made with the first call: later problems do not try
    std::vector<std::function<void()>> calls;
    for (const Schedule& schedule : all) {
      calls.emplace_back([&, schedule] {
        if (!trial) trial.emplace(p_);
        start(trial->pointers(), schedule);
      });
    }
    return all[quickest(AttentionTrial::key("cuda_flash_wgmma", p_), calls)];
  }

  template <typename Body>
  void with_kernel(const Body& body) const {
    const bool bf16 = p_.q_dtype == DType::kBf16;
    if (p_.head_dim == 64) {
      bf16 ? body(FlashWgmmaTile<64>{}, attend_warpgroups<FlashWgmmaTile<64>, true>)
           : body(FlashWgmmaTile<64>{}, attend_warpgroups<FlashWgmmaTile<64>, false>);
    } else {
      bf16 ? body(FlashWgmmaTile<128>{}, attend_warpgroups<FlashWgmmaTile<128>, true>)
           : body(FlashWgmmaTile<128>{}, attend_warpgroups<FlashWgmmaTile<128>, false>);
    }
  }

  /// data [slices, stored_rows, head_dim], of which the first `rows` of each slice exist.
  [[nodiscard]] CUtensorMap map_of(const void* data, std::int64_t rows, std::int64_t stored_rows,
                                   std::int64_t slices, int box_rows) const {
    return maps_.of({.data = data,
                     .dtype = p_.q_dtype,
                     .slices = slices,
                     .stored_rows = stored_rows,
                     .rows = rows,
                     .columns = p_.head_dim},
                    box_rows);
  }

  AttentionProblem p_;
  FlashProblem f_;
  TensorMaps maps_;
  Schedule schedule_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CudaFlashWgmma>(AttentionProblem::from(problem));
}

std::string declines(const Problem& problem) {
  const AttentionProblem p = AttentionProblem::from(problem);
  if (p.seq_kv == 0) return "no keys: a TMA box needs at least one";
  if (static_cast<float>(p.scale) <= 0) return "scale: above 0 here";
  return cuda_tile_declines(p);
}

Arithmetic arithmetic(const Problem& problem) {
  return tensor_core_attention(problem, FlashWgmmaTile<128>::kKeys, kFlushedWeight);
}

const Registration registration{{
    .op = "attention",
    .name = "cuda_flash_wgmma",
    .summary = "CUDA, fused on wgmma, 2 x 64 rows x 128 keys, PV beside softmax, TMA",
    .needs_cuda = 90,
    .limits =
        cuda_tile_limits({{.key = "seq_q", .max = 1 << 30}, {.key = "seq_kv", .max = 1 << 30}}),
    .declines = declines,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .unit = "cuda_tensor_bf16",
}};
const LaunchesKernel launch_attend("attention/cuda_flash_wgmma", "attend_warpgroups",
                                   {.threads = FlashWgmmaTile<128>::kThreads,
                                    .dynamic_shared_bytes = FlashWgmmaTile<128>::kSharedBytes});

}  // namespace
}  // namespace pareto
