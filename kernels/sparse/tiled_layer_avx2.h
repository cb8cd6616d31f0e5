// Layers of many tokens with AVX2: the blocked product of the dense kernels (../qgemm), with W
// either written out or expanded to fp32 just ahead of the tiles, a block of K at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "harness/variant.h"
#include "kernels/qgemm/f32_gemm_avx2.h"
#include "kernels/sparse/panels.h"
#include "reference/sparse.h"

namespace pareto {

/// W as `tiles` reads it: panels of fp32 or 16 bits, or descriptions of chunks of panels.
class TiledLayer : public Prepared {
 public:
  /// `make_w(product.gemm())` gives W. `weights`: what its chunks point into, or null.
  template <typename MakeW>
  TiledLayer(const SparseProblem& p, std::span<const Tensor> in, const TileSet& tiles,
             const MakeW& make_w, std::unique_ptr<PanelWeights> weights, ThreadPool& pool)
      : activation_(p.activation),
        product_(tiles, p.M, p.N, p.K, p.dtype == DType::kF32, pool.size()),
        weights_(std::move(weights)),
        w_(make_w(product_.gemm())) {
    if (p.has_bias) bias_ = padded_bias(in[kSparseBias], F32Avx2::kColumns);
  }

  void run(const Call& call) override {
    Epilogue epilogue;
    epilogue.y = call.out[kSparseY];
    epilogue.bias = bias_.data();
    epilogue.activation = activation_;
    product_.run(call.in[kSparseX], w_.data(), epilogue, call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return w_.bytes() + bias_.bytes() + (weights_ == nullptr ? 0 : weights_->bytes());
  }

 private:
  Activation activation_;
  F32Product<F32Avx2> product_;
  std::unique_ptr<PanelWeights> weights_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> bias_;
};

/// W expanded ahead of tiles of fp32, in chunks of Weights::kChunkColumns columns of a panel of 16
/// rows: `weights.chunk(panel, k)` describes one, `Weights::expand(chunk, w)` writes it as
/// [k][row].
template <typename Weights>
std::unique_ptr<Prepared> expanded_layer(const SparseProblem& p, std::span<const Tensor> in,
                                         ThreadPool& pool) {
  using Chunk = typename Weights::Chunk;
  auto weights = std::make_unique<Weights>(p, in);
  TileSet tiles = F32Avx2::tiles(DType::kF32);
  tiles.packed_step_bytes = sizeof(Chunk);
  tiles.steps_per_packed = Weights::kChunkColumns;
  tiles.unpack = [](const std::byte* packed, std::int64_t chunks, const std::byte* /*next*/,
                    std::byte* w) {
    const auto* chunk = reinterpret_cast<const Chunk*>(packed);
    auto* to = reinterpret_cast<float*>(w);
    for (; chunks > 0; --chunks, to += Weights::kChunkColumns * F32Avx2::kColumns) {
      Weights::expand(*chunk++, to);
    }
  };
  const auto describe = [&p, &of = *weights](const TileGemm& gemm) {
    AlignedBuffer<std::byte> described(gemm.panels() * gemm.panel_bytes());
    auto* chunk = reinterpret_cast<Chunk*>(described.data());
    for (std::int64_t panel = 0; panel < gemm.panels(); ++panel) {
      for (std::int64_t k = 0; k < p.K; k += Weights::kChunkColumns) {
        *chunk++ = of.chunk(panel, k);
      }
    }
    return described;
  };
  return std::make_unique<TiledLayer>(p, in, tiles, describe, std::move(weights), pool);
}

}  // namespace pareto
