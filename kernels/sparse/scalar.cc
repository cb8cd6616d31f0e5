// Portable sparse layer that takes every format and option.
//
// Idea: x is widened once per call into panels [K][16 tokens] (rows of fp32 below 4 tokens); each
// stored row of W is decoded into L1 and multiplied with every panel, 16 chains side by side that
// the compiler turns into the baseline's vectors. skip_x lists the nonzeros of x instead; lowrank
// is two dense products with 16 lanes over K. Bottleneck: loads of the panels (two per product)
// when M is large, decoding when it is small. Layout: operands as given; workspace x (fp32, M·K),
// one row of W per thread.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "harness/variant.h"
#include "kernels/sparse/stored_rows.h"
#include "kernels/widen.h"
#include "reference/activation.h"
#include "reference/number_formats.h"
#include "reference/sparse.h"

namespace pareto {
namespace {

constexpr std::int64_t kLanes = 16;
constexpr std::int64_t kPanelFrom = 4;  ///< tokens from which a panel of 16 pays

float dot(const float* x, const float* w, std::int64_t K) {
  float lane[kLanes] = {};
  std::int64_t k = 0;
  for (; k + kLanes <= K; k += kLanes) {
    for (int i = 0; i < kLanes; ++i) lane[i] += x[k + i] * w[k + i];
  }
  for (int i = 0; k < K; ++k, ++i) lane[i] += x[k] * w[k];
  for (std::int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  }
  return lane[0];
}

class ScalarSparse : public Prepared {
 public:
  ScalarSparse(const SparseProblem& problem, int threads) : p_(problem) {
    const bool panels = p_.M >= kPanelFrom && p_.format != SparseFormat::kSkipX &&
                        p_.format != SparseFormat::kLowRank;
    width_ = panels ? kLanes : 1;
    x_ = AlignedBuffer<float>((p_.M + width_ - 1) / width_ * width_ * p_.K);
    const std::int64_t row = std::max(p_.K, p_.rank);
    for (int i = 0; i < threads; ++i) {
      value_.emplace_back(row);
      index_.emplace_back(row);
    }
    if (p_.format == SparseFormat::kLowRank) inner_ = AlignedBuffer<float>(p_.M * p_.rank);
    if (p_.format == SparseFormat::kSkipX) {
      x_index_ = AlignedBuffer<std::int32_t>(p_.M * p_.K);
      x_count_ = AlignedBuffer<std::int64_t>(p_.M);
    }
  }

  void run(const Call& call) override {
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.M, thread, threads);
      for (std::int64_t m = begin; m < end; ++m) widen_x(call, m, value_[thread].data());
    });
    if (p_.format == SparseFormat::kLowRank) return low_rank(call);
    const StoredRows rows(p_, call.in);
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(rows.lanes(), thread, threads);
      for (std::int64_t lane = begin; lane < end; ++lane) {
        if (p_.format == SparseFormat::kSkipX) {
          skip_x(call, lane, value_[thread].data());
        } else {
          multiply(call, rows, lane, index_[thread].data(), value_[thread].data());
        }
      }
    });
  }

 private:
  void widen_x(const Call& call, std::int64_t m, float* row) {
    if (width_ == 1) row = x_.data() + m * p_.K;
    widen(call.in[kSparseX], m * p_.K, p_.K, row);
    if (width_ > 1) {
      float* panel = x_.data() + m / width_ * width_ * p_.K + m % width_;
      for (std::int64_t k = 0; k < p_.K; ++k) panel[k * width_] = row[k];
    }
    if (p_.format == SparseFormat::kSkipX) list_nonzeros(m, row);
  }

  // Moves the nonzeros of a row to its front.
  void list_nonzeros(std::int64_t m, float* row) {
    std::int32_t* index = x_index_.data() + m * p_.K;
    std::int64_t count = 0;
    for (std::int64_t k = 0; k < p_.K; ++k) {
      if (row[k] == 0) continue;
      index[count] = static_cast<std::int32_t>(k);
      row[count++] = row[k];
    }
    x_count_[m] = count;
  }

  void multiply(const Call& call, const StoredRows& rows, std::int64_t lane, std::int32_t* k,
                float* value) {
    const StoredRow row = rows.read(lane, k, value);
    if (row.n < 0) return;
    if (width_ == 1) {
      for (std::int64_t m = 0; m < p_.M; ++m) {
        const float* x = x_.data() + m * p_.K;
        float sum = 0;
        for (std::int64_t j = 0; j < row.count; ++j) sum += value[j] * x[k[j]];
        store(call, m, row.n, sum);
      }
      return;
    }
    for (std::int64_t m = 0; m < p_.M; m += kLanes) {
      const float* panel = x_.data() + m * p_.K;
      float sum[kLanes] = {};
      for (std::int64_t j = 0; j < row.count; ++j) {
        const float* x = panel + k[j] * kLanes;
        for (int i = 0; i < kLanes; ++i) sum[i] += value[j] * x[i];
      }
      for (std::int64_t i = 0; i < std::min(kLanes, p_.M - m); ++i) {
        store(call, m + i, row.n, sum[i]);
      }
    }
  }

  void skip_x(const Call& call, std::int64_t n, float* w) {
    widen(call.in[kSparseW], n * p_.K, p_.K, w);
    for (std::int64_t m = 0; m < p_.M; ++m) {
      const float* x = x_.data() + m * p_.K;
      const std::int32_t* index = x_index_.data() + m * p_.K;
      float sum = 0;
      for (std::int64_t j = 0; j < x_count_[m]; ++j) sum += x[j] * w[index[j]];
      store(call, m, n, sum);
    }
  }

  void low_rank(const Call& call) {
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.rank, thread, threads);
      float* b = value_[thread].data();
      for (std::int64_t r = begin; r < end; ++r) {
        widen(call.in[kSparseB], r * p_.K, p_.K, b);
        for (std::int64_t m = 0; m < p_.M; ++m) {
          inner_[m * p_.rank + r] = dot(x_.data() + m * p_.K, b, p_.K);
        }
      }
    });
    call.pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.N, thread, threads);
      float* a = value_[thread].data();
      for (std::int64_t n = begin; n < end; ++n) {
        widen(call.in[kSparseA], n * p_.rank, p_.rank, a);
        for (std::int64_t m = 0; m < p_.M; ++m) {
          store(call, m, n, dot(inner_.data() + m * p_.rank, a, p_.rank));
        }
      }
    });
  }

  // fp64 from here to the one rounding to the output's type.
  void store(const Call& call, std::int64_t m, std::int64_t n, float sum) const {
    double y = sum;
    if (p_.has_bias) y += static_cast<double>(call.in[kSparseBias].as<float>()[n]);
    y = activate(p_.activation, y);
    if (p_.out_dtype == DType::kF32) {
      call.out[kSparseY].as<float>()[m * p_.N + n] = static_cast<float>(y);
    } else {
      store_rounded(call.out[kSparseY], m * p_.N + n, y);
    }
  }

  SparseProblem p_;
  std::int64_t width_ = 1;  ///< tokens that stand side by side in x_
  AlignedBuffer<float> x_;
  AlignedBuffer<float> inner_;               ///< lowrank: x·Bᵀ
  AlignedBuffer<std::int32_t> x_index_;      ///< skip_x: columns of the nonzeros of each row of x
  AlignedBuffer<std::int64_t> x_count_;      ///< skip_x: how many
  std::vector<AlignedBuffer<float>> value_;  ///< per thread: a row of W or x
  std::vector<AlignedBuffer<std::int32_t>> index_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& pool) {
  return std::make_unique<ScalarSparse>(SparseProblem::from(problem), pool.size());
}

// Without FMA, products of fp32 operands are rounded by themselves; 16-bit ones are exact.
Arithmetic arithmetic(const Problem& problem) {
  const SparseProblem p = SparseProblem::from(problem);
  Arithmetic a;
  a.epilogue_roundings = 1;
  a.u_operand = p.dtype == DType::kF32 || p.format == SparseFormat::kLowRank ? kU32 : 0;
  if (p.format == SparseFormat::kLowRank) {
    a.u_operand *= 2;  // both products
    a.acc_lanes = kLanes;
  }
  return a;
}

const Registration registration{{
    .op = "sparse",
    .name = "scalar",
    .summary = "portable: every format, decoded row by row; fp32 chains over 16 tokens",
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
