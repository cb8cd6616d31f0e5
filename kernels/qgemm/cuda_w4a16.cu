// 4-bit weights times 16-bit activations, few rows of x: read each weight once, as 4 bits.
//
// Idea: weights lie packed in the order of mma.sync's fragments, so that a lane's 16 bytes are its
// own operands; they become 16 bits by one lop3 and one subtraction for two of them. Codes are
// exact there, and the scale of a group multiplies its fp32 sum: only sums are rounded. Units of
// 128 rows × 128 of k are shared out evenly over all blocks, whatever the shape; a tile that
// several blocks worked on is added up, in their order, by the one that finishes last. After
// Marlin.
// Bottleneck: reading w at 4 bits; from about M = 64 on the products of mma.sync.
// Layout: device pointers; w, scales and bias are packed copies. Workspace: two tiles of fp32 sums
// per block, one counter per tile of y.
// ptxas: hot
#include <algorithm>
#include <memory>

#include "harness/device_buffer.h"
#include "harness/variant.h"
#include "kernels/cuda_lane.cuh"
#include "kernels/cuda_launch.cuh"
#include "kernels/cuda_values.cuh"
#include "kernels/qgemm/w4_pack.cuh"
#include "kernels/qgemm/w4_tile.cuh"
#include "reference/qgemm.h"

namespace pareto {
namespace {

using cuda::W4Problem;
using cuda::W4Tile;

// One thread, with what the tile loop needs beside cuda_lane.cuh.
template <bool kBf16>
class W4Lane : public cuda::DeviceLane {
 public:
  __device__ explicit W4Lane(unsigned char* shared)
      : DeviceLane(shared), shared_(static_cast<std::uint32_t>(__cvta_generic_to_shared(shared))) {}

  // volatile: the compiler would fetch the operands of many products ahead, and run out of
  // registers.
  __device__ void load_words(std::uint32_t (&to)[4], std::uint32_t offset) const {
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_ + offset)
                 : "memory");
  }
  __device__ void load_words(std::uint32_t (&to)[2], std::uint32_t offset) const {
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];\n"
                 : "=r"(to[0]), "=r"(to[1])
                 : "r"(shared_ + offset)
                 : "memory");
  }
  // 128 + code in bf16, 1024 + code in fp16: exact, and so is the difference. lop3 by name: left to
  // itself the compiler makes two instructions of it, with a constant in each.
  __device__ std::uint32_t decode_pairs(std::uint32_t word) const {
    constexpr std::uint32_t kBase = kBf16 ? 0x43004300 : 0x64006400;
    constexpr int kAndOr = 0xea;
    std::uint32_t pair = 0;
    asm("lop3.b32 %0, %1, %2, %3, %4;\n"
        : "=r"(pair)
        : "r"(word), "r"(0x000f000f), "r"(kBase), "n"(kAndOr));
    if constexpr (kBf16) {  // · 1 − 136: compute capability 8 has no subtraction
      asm("fma.rn.bf16x2 %0, %0, %1, %2;\n" : "+r"(pair) : "r"(0x3f803f80), "r"(0xc308c308));
    } else {
      asm("sub.rn.f16x2 %0, %0, %1;\n" : "+r"(pair) : "r"(0x64086408));
    }
    return pair;
  }
  __device__ void multiply_pairs(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                 std::uint32_t b1) {
    if constexpr (kBf16) {
      multiply(sum, a, b0, b1);
    } else {
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
          "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
          : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
  }
  __device__ float float_of_half(std::uint16_t bits) const {
    return __half2float(__ushort_as_half(bits));
  }

 private:
  std::uint32_t shared_;
};

// Tiles of y that several blocks work on.
struct SplitTiles {
  std::int64_t units = 0;
  float* sums = nullptr;           // [blocks][2][kM][128]
  unsigned* parts_done = nullptr;  // [tiles], zero between calls
};

// Adds up the parts of a tile; true in the block that came last and has the sum, in its shared
// memory.
template <class T, typename Lane>
__device__ bool join_parts(Lane& lane, const SplitTiles& split, std::int64_t tile,
                           std::int64_t steps) {
  constexpr int kTileFloats = T::kM * cuda::kW4Rows;
  const std::int64_t blocks = gridDim.x;
  const std::int64_t first = cuda::w4_block_of(tile * steps, split.units, blocks);
  const std::int64_t last = cuda::w4_block_of((tile + 1) * steps - 1, split.units, blocks);
  if (first == last) return true;
  const auto part_of = [&](std::int64_t block) {
    const std::int64_t unit = cuda::w4_first_unit(block, split.units, blocks);
    return split.sums + (2 * block + cuda::w4_slot(tile, unit, steps)) * kTileFloats;
  };
  float* own = part_of(blockIdx.x);
  for (int e = lane.thread(); e < kTileFloats; e += cuda::kW4Threads) {
    own[e] =
        lane.load_shared(T::kSumsAt + cuda::w4_sum_offset(e / cuda::kW4Rows, e % cuda::kW4Rows));
  }
  __threadfence();
  lane.barrier();
  const auto parts = static_cast<unsigned>(last - first + 1);
  unsigned done = 0;
  if (lane.thread() == 0) {
    done = atomicAdd(split.parts_done + tile, 1U) + 1;
    if (done == parts) split.parts_done[tile] = 0;  // for the next call
  }
  if (__syncthreads_or(done == parts) == 0) return false;
  __threadfence();
  float total[kTileFloats / cuda::kW4Threads] = {};
#pragma unroll 1
  for (std::int64_t block = first; block <= last; ++block) {
    const float* part = part_of(block) + lane.thread();
#pragma unroll
    for (int i = 0; i < kTileFloats / cuda::kW4Threads; ++i) {
      total[i] += __ldcg(part + i * cuda::kW4Threads);
    }
  }
#pragma unroll
  for (int i = 0; i < kTileFloats / cuda::kW4Threads; ++i) {
    const int e = lane.thread() + i * cuda::kW4Threads;
    lane.store_shared(T::kSumsAt + cuda::w4_sum_offset(e / cuda::kW4Rows, e % cuda::kW4Rows),
                      total[i]);
  }
  return true;  // each thread has written what it stores to y itself
}

template <class T, bool kBf16>
__global__ void __launch_bounds__(cuda::kW4Threads, T::kBlocksAtOnce)
    w4_products(W4Problem p, SplitTiles split, DeviceEpilogue epilogue) {
  extern __shared__ __align__(128) unsigned char stages[];
  W4Lane<kBf16> lane(stages);
  const std::int64_t first = cuda::w4_first_unit(blockIdx.x, split.units, gridDim.x);
  const std::int64_t end = cuda::w4_first_unit(blockIdx.x + 1, split.units, gridDim.x);
  cuda::w4_units<T>(lane, p, first, end, [&](int x_block, int row_block) {
    if (!join_parts<T>(lane, split, std::int64_t{x_block} * p.row_blocks + row_block, p.steps)) {
      return;
    }
#pragma unroll 1
    for (int e = lane.thread(); e < T::kM * cuda::kW4Rows; e += cuda::kW4Threads) {
      const std::int64_t m = std::int64_t{x_block} * T::kM + e / cuda::kW4Rows;
      const std::int64_t n = std::int64_t{row_block} * cuda::kW4Rows + e % cuda::kW4Rows;
      if (m >= p.M || n >= p.N) continue;
      epilogue.store(
          m * p.N + n, n,
          lane.load_shared(T::kSumsAt + cuda::w4_sum_offset(e / cuda::kW4Rows, e % cuda::kW4Rows)));
    }
  });
}

// One size of tile, ready to be launched.
struct Choice {
  int rows;  // of x in a tile
  int shared_bytes;
  int blocks_at_once;
  void (*kernel)(W4Problem, SplitTiles, DeviceEpilogue);
};

template <int Blocks8, int Group, int Stages>
Choice choice_of(bool bf16) {
  using T = W4Tile<Blocks8, Group, Stages>;
  static_assert((T::kSharedBytes + 1024) * T::kBlocksAtOnce <= 228 * 1024);
  return {T::kM, T::kSharedBytes, T::kBlocksAtOnce,
          bf16 ? w4_products<T, true> : w4_products<T, false>};
}

template <int Group>
Choice choose(std::int64_t M, bool bf16) {
  if (M <= 8) return choice_of<1, Group, 6>(bf16);
  if (M <= 16) return choice_of<2, Group, 6>(bf16);
  if (M <= 32) return choice_of<4, Group, 5>(bf16);
  return choice_of<8, Group, 5>(bf16);
}

class CudaW4a16 : public Prepared {
 public:
  /// Fewer than `least_units` in a block would not pay for adding up its parts.
  CudaW4a16(const QgemmProblem& p, std::span<const Tensor> in, std::int64_t least_units)
      : p_(p),
        choice_(p.w_group == 32 ? choose<32>(p.M, p.x_dtype == DType::kBf16)
                                : choose<128>(p.M, p.x_dtype == DType::kBf16)),
        w_(p.N, p.K, p.scheme->w_group == 32 ? 32 : 128, in[kQgemmW].as<const std::uint8_t>(),
           in[kQgemmWScale].as<const std::uint16_t>()) {
    const std::int64_t tiles = ceil_div(p.M, choice_.rows) * w_.row_blocks;
    units_ = tiles * w_.steps;
    const std::int64_t places =
        std::int64_t{device().info().multiprocessors} * choice_.blocks_at_once;
    blocks_ = std::min(places, ceil_div(units_, least_units));
    sums_ = DeviceBuffer<float>(blocks_ * 2 * choice_.rows * cuda::kW4Rows);
    parts_done_ = DeviceBuffer<unsigned>(tiles);
    if (tiles > 0) device().fill(parts_done_.data(), 0, parts_done_.bytes());
    if (p.has_bias && p.N > 0) {
      bias_ = DeviceBuffer<float>(p.N);
      check_cuda(cudaMemcpyAsync(bias_.data(), in[kQgemmBias].data, bias_.bytes(),
                                 cudaMemcpyDeviceToDevice, call_stream()),
                 "copy of the bias");
    }
    allow_shared(choice_.kernel, choice_.shared_bytes);
    device().synchronize();
  }

  void run(const Call& call) override {
    const auto* w = reinterpret_cast<const std::uint16_t*>(w_.words.data());
    const W4Problem problem{p_.M,
                            p_.N,
                            p_.K,
                            w_.steps,
                            w_.row_blocks,
                            p_.K == 0 ? w : call.in[kQgemmX].as<const std::uint16_t>(),
                            w,
                            w_.scales.data()};
    const DeviceEpilogue epilogue{bias_.data(), p_.activation, p_.out_dtype,
                                  call.out[kQgemmY].data};
    launch_grid(choice_.kernel, dim3(static_cast<unsigned>(blocks_)), dim3(cuda::kW4Threads),
                static_cast<std::size_t>(choice_.shared_bytes), problem,
                SplitTiles{units_, sums_.data(), parts_done_.data()}, epilogue);
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  QgemmProblem p_;
  Choice choice_;
  PackedW4 w_;
  std::int64_t units_ = 0;
  std::int64_t blocks_ = 0;
  DeviceBuffer<float> sums_;
  DeviceBuffer<unsigned> parts_done_;
  DeviceBuffer<float> bias_;
};

template <int LeastUnits>
std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CudaW4a16>(QgemmProblem::from(problem), in, LeastUnits);
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
      .needs_cuda = 80,
      .limits = {{.key = "scheme", .values = {"w4a16_g128", "w4a16_g32"}},
                 {.key = "operands", .values = {"float"}},
                 {.key = "M", .max = 1 << 30},
                 {.key = "N", .max = 1 << 30},
                 {.key = "K", .max = 1 << 30}},
      .arithmetic = arithmetic,
      .prepare = prepare_it,
      .unit = "cuda_tensor_bf16",
  };
}

const Registration registration{variant(
    "cuda_w4a16", "CUDA, 4-bit weights packed for mma.sync, scaled in fp32, work shared out evenly",
    prepare<4>)};
const Registration registration_a{variant(
    "cuda_w4a16_a", "CUDA, as cuda_w4a16, at least 8 units of work in a block", prepare<8>)};
const Registration registration_b{variant(
    "cuda_w4a16_b", "CUDA, as cuda_w4a16, at least 2 units of work in a block", prepare<2>)};
const LaunchesKernel launch_of_products("qgemm/cuda_w4a16", "w4_products",
                                        {.threads = cuda::kW4Threads,
                                         .dynamic_shared_bytes = W4Tile<2, 128, 6>::kSharedBytes});

}  // namespace
}  // namespace pareto
