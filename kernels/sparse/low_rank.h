// A prepared low-rank layer over two PanelWeights.
#pragma once

#include <memory>
#include <vector>

#include "kernels/sparse/panels.h"

namespace pareto {

class LowRankSparse : public Prepared {
 public:
  /// `a` holds A[N, rank], `b` holds B[rank, K].
  LowRankSparse(const SparseProblem& problem, std::span<const Tensor> in, const PanelIsa& isa,
                std::unique_ptr<PanelWeights> a, std::unique_ptr<PanelWeights> b, int threads)
      : p_(problem),
        isa_(isa),
        a_(std::move(a)),
        b_(std::move(b)),
        x_(problem.M, b_->k_padded(), isa.heights),
        inner_strips_(problem.M, a_->k_padded(), isa.heights),
        inner_(problem.M * problem.rank) {
    if (p_.has_bias) bias_ = padded_bias(in[kSparseBias], isa.panel_rows);
    for (int i = 0; i < threads; ++i) {
      workspace_.emplace_back(std::max(a_->workspace(inner_strips_), b_->workspace(x_)));
    }
  }

  void run(const Call& call) override {
    pack_strips(call.in[kSparseX], p_.M, p_.K, isa_, x_, call.pool);
    const Tensor inner{DType::kF32, Shape{p_.M, p_.rank},
                       reinterpret_cast<std::byte*>(inner_.data())};
    multiply_panels(*b_, p_.rank, x_, isa_, {inner, nullptr, Activation::kNone}, workspace_,
                    call.pool);
    pack_strips(inner, p_.M, p_.rank, isa_, inner_strips_, call.pool);
    const SparseEpilogue epilogue{call.out[kSparseY], bias_.data(), p_.activation};
    multiply_panels(*a_, p_.N, inner_strips_, isa_, epilogue, workspace_, call.pool);
  }

  [[nodiscard]] std::size_t packed_bytes() const override {
    return a_->bytes() + b_->bytes() + bias_.bytes();
  }

 private:
  SparseProblem p_;
  PanelIsa isa_;
  std::unique_ptr<PanelWeights> a_;
  std::unique_ptr<PanelWeights> b_;
  XStrips x_;
  XStrips inner_strips_;
  AlignedBuffer<float> inner_;  ///< x·Bᵀ, [M, rank]
  AlignedBuffer<float> bias_;
  std::vector<AlignedBuffer<float>> workspace_;
};

}  // namespace pareto
