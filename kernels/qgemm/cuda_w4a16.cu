// 4-bit weights times 16-bit activations, few rows of x: read each weight once, as 4 bits.
//
// Idea: weights lie packed in the order of mma.sync's fragments, so that a lane's 16 bytes are its
// own operands; they become 16 bits by one lop3 and one subtraction for two of them. Codes are
// exact there, and the scale of a group multiplies its fp32 sum: only sums are rounded. Two ways,
// of which `prepare` tries a few sizes each. Up to 32 rows of x, words go from memory straight into
// registers, several steps ahead, and warps that share K add up their sums in the block
// (stream_tile.cuh). For any shape, units of 128 rows × 128 of k go through a ring in shared memory
// and are shared out evenly over all blocks; a tile that several blocks worked on is added up, in
// their order, by the one that finishes last (w4_products.cuh). After Marlin.
// Bottleneck: reading w at 4 bits; from about M = 64 on the products of mma.sync.
// Layout: device pointers; w, scales and bias are packed copies. Workspace of the second
// way: two tiles of fp32 sums per block, one counter per tile of y.
// ptxas: hot
#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "harness/device_buffer.h"
#include "harness/variant.h"
#include "kernels/cuda_tuning.h"
#include "kernels/qgemm/stream_launch.cuh"
#include "kernels/qgemm/tensor_core_arithmetic.h"
#include "kernels/qgemm/w4_pack.cuh"
#include "kernels/qgemm/w4_products.cuh"
#include "reference/qgemm.h"

namespace pareto {
namespace {

using cuda::W4Problem;
using cuda::W4Tile;

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

// Tiles of x rows that suit M, the best fitting first.
template <int Group>
std::vector<Choice> choices(std::int64_t M, bool bf16) {
  if (M <= 8) return {choice_of<1, Group, 6>(bf16)};
  if (M <= 16) return {choice_of<2, Group, 6>(bf16)};
  if (M <= 32) return {choice_of<4, Group, 5>(bf16)};
  return {choice_of<8, Group, 5>(bf16), choice_of<4, Group, 5>(bf16)};
}

template <int Group, int Tiles, int Blocks8, int Depth, int AtOnce>
StreamStart stream(bool bf16) {
  return stream_start<cuda::StreamTile<cuda::W4Weights<Group>, Tiles, Blocks8, Depth, AtOnce>>(
      bf16);
}

// As deep as registers allow; groups of 32 need more of them.
std::vector<StreamStart> streams(std::int64_t M, int group, bool bf16) {
  if (group == 32) {
    if (M <= 8) {
      return {stream<32, 2, 1, 2, 2>(bf16), stream<32, 2, 1, 4, 1>(bf16),
              stream<32, 4, 1, 2, 1>(bf16)};
    }
    if (M <= 16) return {stream<32, 2, 2, 3, 1>(bf16)};
    return {};
  }
  if (M <= 8) {
    return {stream<128, 2, 1, 3, 2>(bf16), stream<128, 2, 1, 6, 1>(bf16),
            stream<128, 4, 1, 3, 1>(bf16)};
  }
  if (M <= 16) {
    return {stream<128, 2, 2, 4, 1>(bf16), stream<128, 4, 2, 2, 1>(bf16)};
  }
  if (M <= 32) return {stream<128, 2, 4, 2, 1>(bf16)};
  return {};
}

// Units of work shared out over all blocks, with their workspace.
class SharedOut {
 public:
  /// Fewer than `least_units` in a block would not pay for adding up its parts.
  SharedOut(const Choice& choice, int blocks_at_once, std::int64_t least_units, std::int64_t M,
            const PackedW4& w)
      : choice_(choice) {
    const std::int64_t tiles = ceil_div(M, choice.rows) * w.row_blocks;
    units_ = tiles * w.steps;
    blocks_ = std::min(std::int64_t{device().info().multiprocessors} * blocks_at_once,
                       ceil_div(units_, least_units));
    sums_ = DeviceBuffer<float>(blocks_ * 2 * choice.rows * cuda::kW4Rows);
    parts_done_ = DeviceBuffer<unsigned>(tiles);
    if (tiles > 0) device().fill(parts_done_.data(), 0, parts_done_.bytes());
    allow_shared(choice.kernel, choice.shared_bytes);
  }

  void start(const W4Problem& p, const DeviceEpilogue& epilogue) const {
    launch_grid(choice_.kernel, dim3(static_cast<unsigned>(blocks_)), dim3(cuda::kW4Threads),
                static_cast<std::size_t>(choice_.shared_bytes), p,
                SplitTiles{units_, sums_.data(), parts_done_.data()}, epilogue);
  }

 private:
  Choice choice_;
  std::int64_t units_ = 0;
  std::int64_t blocks_ = 0;
  DeviceBuffer<float> sums_;
  DeviceBuffer<unsigned> parts_done_;
};

class CudaW4a16 : public Prepared {
 public:
  CudaW4a16(const QgemmProblem& p, std::span<const Tensor> in)
      : p_(p),
        group_(p.scheme->w_group == 32 ? 32 : 128),
        w_(p.N, p.K, group_, in[kQgemmW].as<const std::uint8_t>(),
           in[kQgemmWScale].as<const std::uint16_t>()) {
    if (p.has_bias && p.N > 0) {
      bias_ = DeviceBuffer<float>(p.N);
      check_cuda(cudaMemcpyAsync(bias_.data(), in[kQgemmBias].data, bias_.bytes(),
                                 cudaMemcpyDeviceToDevice, call_stream()),
                 "copy of the bias");
    }
    if (p.M > 0 && p.N > 0) choose();
    device().synchronize();
  }

  void run(const Call& call) override {
    start(call.in[kQgemmX].as<const std::uint16_t>(), call.out[kQgemmY].data);
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  void choose() {
    const bool bf16 = p_.x_dtype == DType::kBf16;
    std::vector<StreamStart> streams_tried;
    if (p_.K % 8 == 0) {
      streams_tried = streams(p_.M, group_, bf16);
    }
    std::vector<SharedOut> shared_tried;
    for (const Choice& c : group_ == 32 ? choices<32>(p_.M, bf16) : choices<128>(p_.M, bf16)) {
      for (const int least_units : {4, 8, 16}) {
        shared_tried.emplace_back(c, c.blocks_at_once, least_units, p_.M, w_);
      }
    }
    const DeviceBuffer<std::uint16_t> x(p_.M * p_.K);
    const DeviceBuffer<float> y(p_.M * p_.N);
    if (x.size() > 0) device().fill(x.data(), 0, x.bytes());
    std::vector<std::function<void()>> candidates;
    for (const StreamStart& each : streams_tried) {
      candidates.emplace_back([&] { each(streamed(x.data()), epilogue(y.data())); });
    }
    for (const SharedOut& each : shared_tried) {
      candidates.emplace_back([&] { each.start(shared_out(x.data()), epilogue(y.data())); });
    }
    const std::size_t chosen = quickest("cuda_w4a16 " + std::string(name_of(p_.x_dtype)) + " " +
                                            std::to_string(group_) + " " + std::to_string(p_.M) +
                                            "x" + std::to_string(p_.N) + "x" + std::to_string(p_.K),
                                        candidates);
    if (chosen < streams_tried.size()) {
      stream_ = streams_tried[chosen];
    } else {
      shared_ = std::move(shared_tried[chosen - streams_tried.size()]);
    }
  }

  void start(const std::uint16_t* x, void* y) const {
    if (stream_ != nullptr) {
      stream_(streamed(x), epilogue(y));
    } else if (shared_.has_value()) {
      shared_->start(shared_out(x), epilogue(y));
    }
  }
  [[nodiscard]] const std::uint16_t* words() const {
    return reinterpret_cast<const std::uint16_t*>(w_.words.data());
  }
  [[nodiscard]] cuda::StreamProblem streamed(const std::uint16_t* x) const {
    return {p_.M, p_.N, p_.K, x, words(), w_.scales.data()};
  }
  [[nodiscard]] W4Problem shared_out(const std::uint16_t* x) const {
    return {p_.M,          p_.N,
            p_.K,          w_.steps,
            w_.row_blocks, p_.K == 0 ? words() : x,
            words(),       w_.scales.data()};
  }
  [[nodiscard]] DeviceEpilogue epilogue(void* y) const {
    return {bias_.data(), p_.activation, p_.out_dtype, y};
  }

  QgemmProblem p_;
  int group_;
  PackedW4 w_;
  DeviceBuffer<float> bias_;
  StreamStart stream_ = nullptr;  // either this or shared_
  std::optional<SharedOut> shared_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<CudaW4a16>(QgemmProblem::from(problem), in);
}

const Registration registration{{
    .op = "qgemm",
    .name = "cuda_w4a16",
    .summary = "CUDA, 4-bit weights packed for mma.sync, scaled in fp32, kernel chosen by trial",
    .needs_cuda = 80,
    .limits = {{.key = "scheme", .values = {"w4a16_g128", "w4a16_g32"}},
               {.key = "operands", .values = {"float"}},
               {.key = "M", .max = 1 << 30},
               {.key = "N", .max = 1 << 30},
               {.key = "K", .max = 1 << 30}},
    .arithmetic = tensor_core_arithmetic,
    .prepare = prepare,
    .unit = "cuda_tensor_bf16",
}};
const LaunchesKernel launch_of_products("qgemm/cuda_w4a16", "w4_products",
                                        {.threads = cuda::kW4Threads,
                                         .dynamic_shared_bytes = W4Tile<2, 128, 6>::kSharedBytes});

}  // namespace
}  // namespace pareto
