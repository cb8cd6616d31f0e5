// Scheme bf16 on a machine with AVX-512: what is common to the kernels that multiply dwords of two
// bf16.
#pragma once

#include <cstdint>

#include "harness/variant.h"
#include "kernels/qgemm/pack_avx512.h"
#include "kernels/qgemm/pack_panels.h"
#include "kernels/qgemm/store_avx512.h"
#include "kernels/qgemm/tile_gemm.h"
#include "reference/qgemm.h"

namespace pareto {

/// `Kernel` gives: kPerStep (elements of K), kStepDwords, and Gemm with gemm(store, problem, steps,
/// threads), whose strips hold 64 bytes of each row side by side, kRowStride bytes from row to row.
template <typename Kernel>
class Bf16Qgemm : public Prepared {
 public:
  Bf16Qgemm(const QgemmProblem& p, std::span<const Tensor> in, ThreadPool& pool)
      : p_(p),
        steps_((p.K + Kernel::kPerStep - 1) / Kernel::kPerStep),
        gemm_(Kernel::gemm(&store_f32_avx512, p, steps_, pool.size())),
        w_(gemm_.panels() * gemm_.panel_bytes()) {
    const auto same = [](std::uint16_t value) { return value; };
    pack_panels(in[kQgemmW].as<std::uint16_t>(), p.N, p.K, kStoreColumns, 2,
                gemm_.panel_steps() * Kernel::kStepDwords, std::uint16_t{0}, same,
                reinterpret_cast<std::uint16_t*>(w_.data()), pool);
    if (p.has_bias) bias_ = padded_copy(in[kQgemmBias].as<float>(), p.N, kStoreColumns);
  }

  void run(const Call& call) override {
    const std::byte* x = call.in[kQgemmX].data;
    Epilogue epilogue;
    epilogue.y = call.out[kQgemmY];
    epilogue.bias = bias_.data();
    epilogue.activation = p_.activation;
    gemm_.fill_and_multiply(
        w_.data(), epilogue, call.pool, x,
        [&](const TileGemm::Strip& strip, int /*thread*/, std::byte* out) { pack(x, strip, out); });
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return w_.bytes() + bias_.bytes(); }

 private:
  void pack(const std::byte* x, const TileGemm::Strip& strip, std::byte* out) const {
    const std::int64_t row_bytes = p_.K * 2;
    for (int i = 0; i < strip.rows; ++i, out += Kernel::kRowStride) {
      copy_chunks_avx512(x + (strip.row + i) * row_bytes, row_bytes, gemm_.chunk_stride(strip),
                         out);
    }
  }

  QgemmProblem p_;
  std::int64_t steps_;
  typename Kernel::Gemm gemm_;
  AlignedBuffer<std::byte> w_;
  AlignedBuffer<float> bias_;
};

/// One chain per element is an upper limit: pairs and tiles shorten it.
inline Arithmetic bf16_arithmetic(const Problem& problem) {
  Arithmetic a;
  a.epilogue_roundings = QgemmProblem::from(problem).has_bias ? 1 : 0;
  a.flushes_subnormals = true;
  return a;
}

}  // namespace pareto
