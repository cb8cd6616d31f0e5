// Group-wise int8 products with AVX2: x quantized per group, W packed once, panels shared out.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "harness/variant.h"
#include "kernels/qgemm/group_rows_avx2.h"
#include "kernels/qgemm/group_tile_avx2.h"
#include "kernels/qgemm/pack_groups.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/panel_streams.h"
#include "kernels/qgemm/store_avx2.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/qgemm.h"

namespace pareto {

template <typename Format>
class GroupQgemmAvx2 : public Prepared {
 public:
  GroupQgemmAvx2(const QgemmProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        steps_((p.K + kStepK - 1) / kStepK),
        gemm_(group_tile_set_avx2<Format>(&store_f32_avx2), p.M, p.N, steps_, pool.size()),
        w_(gemm_.panels() * gemm_.panel_bytes()) {
    pack_groups<Format>(p, in, Format::kRaise, gemm_.panel_bytes(), w_.data(), pool);
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kAvx2TileColumns);
  }

  void run(const Call& call) override {
    pack_rows(call);
    Epilogue epilogue;
    epilogue.y = call.out[kQgemmY];
    epilogue.bias = bias_.data();
    epilogue.activation = p_.activation;
    if (gemm_.strips() == 1) {
      multiply_few_rows(epilogue, call.pool);
    } else {
      gemm_.multiply(w_.data(), epilogue, call.pool);
    }
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  static constexpr std::int64_t kStepK = Format::kGroup * Format::kSubGroups;

  // Rows are shared out over the threads, wherever strips begin.
  void pack_rows(const Call& call) {
    const auto* x = call.in[kQgemmX].as<float>();
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.M, thread, threads);
      for (std::int64_t s = 0; s < gemm_.strips(); ++s) {
        const TileGemm::Strip strip = gemm_.strip(s);
        const std::int64_t last = std::min<std::int64_t>(end - strip.row, strip.rows);
        for (auto i = std::max<std::int64_t>(begin - strip.row, 0); i < last; ++i) {
          pack_row_groups_avx2<Format>(x + (strip.row + i) * p_.K, p_.K, steps_, strip.rows,
                                       gemm_.strip_data(s) + i * 4);
        }
      }
    });
  }

  // A single strip: every thread reads its panels from equally many places at once.
  void multiply_few_rows(const Epilogue& epilogue, ThreadPool& pool) {
    static constexpr PanelsFunctionAvx2 kFunctions[] = {
        nullptr, &group_panels_avx2<Format, 1>, &group_panels_avx2<Format, 2>,
        &group_panels_avx2<Format, 3>, &group_panels_avx2<Format, 4>};
    const auto rows = static_cast<int>(p_.M);
    pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(gemm_.panels(), thread, threads);
      for_panels_apart<kAvx2GroupStreams>(begin, end, [&](std::span<const std::int64_t> numbers) {
        const std::byte* panels[kAvx2GroupStreams];
        for (std::size_t i = 0; i < numbers.size(); ++i) {
          panels[i] = w_.data() + numbers[i] * gemm_.panel_bytes();
        }
        alignas(64) float c[kAvx2GroupStreams * kAvx2GroupRows * kAvx2TileColumns];
        kFunctions[rows](gemm_.strip_data(0), panels, static_cast<int>(numbers.size()), steps_, c);
        for (std::size_t i = 0; i < numbers.size(); ++i) {
          const std::int64_t column = numbers[i] * kAvx2TileColumns;
          const auto columns =
              static_cast<int>(std::min<std::int64_t>(kAvx2TileColumns, p_.N - column));
          store_f32_avx2(epilogue, {0, column, rows, columns},
                         c + static_cast<int>(i) * rows * kAvx2TileColumns);
        }
      });
    });
  }

  QgemmProblem p_;
  std::int64_t steps_;
  TileGemm gemm_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> bias_;
};

inline Arithmetic group_arithmetic_avx2(const Problem& /*problem*/) {
  Arithmetic a;
  a.integer_acc = true;
  a.epilogue_roundings = 3;  // scale product, x's scale times its sum (q4_k), bias
  return a;
}

}  // namespace pareto
