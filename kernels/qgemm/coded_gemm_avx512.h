// The variants over coded_tile_avx512.h differ in their formats alone: with few rows W is decoded
// in registers, with many it may be unpacked once ahead of a larger tile.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>

#include "harness/variant.h"
#include "kernels/qgemm/coded_panels.h"
#include "kernels/qgemm/coded_tile_avx512.h"
#include "kernels/qgemm/float_strips_avx512.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/scaled_tile_avx512.h"
#include "kernels/qgemm/store_avx512.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/qgemm.h"

namespace pareto {

/// Up to here decoding for every strip of 6 rows costs less than writing and reading W unpacked.
inline constexpr std::int64_t kMostDecodedRows = 32;

/// A format's layout and tiles.
struct CodedKernel {
  CodedLayout layout;
  StripLayout strip;
  TileSet decoded;   ///< for few rows
  TileSet unpacked;  ///< for many
};

/// Decoded in registers for any number of rows.
template <typename Format>
CodedKernel decoded_kernel() {
  using Codes = typename Format::Codes;
  CodedKernel kernel;
  kernel.layout = {Format::kGroup,           Codes::kElements,   Format::kCodeBytes,
                   Format::kColumnsAt,       Format::kStepBytes, Format::kScale,
                   Codes::Columns::kColumns, &Codes::place};
  kernel.strip = {Format::kDwords, Format::kExtraDwords};
  kernel.decoded = coded_tile_set<Format>(&store_f32_avx512);
  kernel.unpacked = kernel.decoded;
  return kernel;
}

/// Unpacked ahead for many rows.
template <typename Format>
CodedKernel unpacking_kernel() {
  CodedKernel kernel = decoded_kernel<Format>();
  kernel.unpacked = unpacked_tile_set<Format>(&store_f32_avx512);
  return kernel;
}

template <bool kBf16>
class CodedQgemm : public Prepared {
 public:
  CodedQgemm(const QgemmProblem& p, const CodedKernel& kernel, std::span<const Tensor> in,
             ThreadPool& pool)
      : p_(p),
        groups_((p.K + kernel.layout.group - 1) / kernel.layout.group),
        tiles_(p.M <= kMostDecodedRows ? kernel.decoded : kernel.unpacked),
        gemm_(tiles_, p.M, p.N, groups_ * tiles_.steps_per_packed, pool.size()),
        w_(gemm_.panels() * gemm_.panel_bytes()),
        strips_(p, kernel.strip, groups_ * kernel.strip.group, tiles_.max_rows, pool.size()) {
    pack_coded_panels(p, in, kernel.layout, gemm_.panel_bytes(), w_.data(), pool);
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kTileColumns);
    if (p.w_kind == WKind::kFp8Row) {
      w_scale_ = padded_copy(in[kQgemmWScale].as<float>(), p.N, kTileColumns);
    } else if (p.w_kind == WKind::kNvfp4) {
      w_scale_ = AlignedBuffer<float>(gemm_.panels() * kTileColumns);
      std::fill_n(w_scale_.data(), w_scale_.size(), in[kQgemmWTensorScale].as<float>()[0]);
    }
  }

  void run(const Call& call) override {
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.strips(), thread, threads);
      for (std::int64_t s = begin; s < end; ++s) {
        strips_.pack(call.in[kQgemmX], gemm_.strip(s), thread, gemm_.strip_data(s));
      }
    });
    Epilogue epilogue;
    epilogue.y = call.out[kQgemmY];
    epilogue.bias = bias_.data();
    epilogue.activation = p_.activation;
    if (w_scale_.size() > 0) {
      epilogue.row_scale = strips_.row_scale();
      epilogue.column_scale = w_scale_.data();
    }
    gemm_.multiply(w_.data(), epilogue, call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return w_.bytes() + w_scale_.bytes() + bias_.bytes();
  }

 private:
  QgemmProblem p_;
  std::int64_t groups_;
  TileSet tiles_;
  TileGemm gemm_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> w_scale_;  // for the epilogue
  AlignedBuffer<float> bias_;
  FloatStrips<kBf16> strips_;
};

}  // namespace pareto
