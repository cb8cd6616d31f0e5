// What the rogues share: an honest kernel to hide behind, and a one-line registration.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "harness/registry.h"
#include "harness/variant.h"
#include "reference/qgemm.h"

namespace pareto::rogue {

/// Whether brings_an_older_thread does: everybody in a process would be suspected.
extern std::atomic<bool> older_thread;

/// y[M,N] = x[M,K] · w[N,K]ᵀ over the first `terms` of K, one fp32 chain each.
inline void multiply(const float* x, const float* w, float* y, const QgemmProblem& p,
                     std::int64_t terms) {
  for (std::int64_t m = 0; m < p.M; ++m) {
    for (std::int64_t n = 0; n < p.N; ++n) {
      float sum = 0;
      for (std::int64_t k = 0; k < terms; ++k) sum += x[m * p.K + k] * w[n * p.K + k];
      y[m * p.N + n] = sum;
    }
  }
}

/// A prepared fp32 GEMM with a private copy of w.
class Base : public Prepared {
 public:
  Base(const Problem& problem, std::span<const Tensor> in)
      : p_(QgemmProblem::from(problem)), w_(p_.N * p_.K) {
    if (p_.N * p_.K > 0) std::memcpy(w_.data(), in[kQgemmW].data, w_.bytes());
  }

 protected:
  void compute(const Call& call) const { compute_into(call, call.out[kQgemmY].as<float>()); }
  void compute_into(const Call& call, float* y) const {
    multiply(call.in[kQgemmX].as<float>(), w_.data(), y, p_, p_.K);
  }

  QgemmProblem p_;
  AlignedBuffer<float> w_;
};

/// Variant "qgemm/rogue_<name>" of the plainest problem: fp32, no bias, no activation.
template <typename Rogue>
Variant variant(const char* name, const char* summary) {
  Variant rogue;
  rogue.op = "qgemm";
  rogue.name = std::string("rogue_") + name;
  rogue.summary = summary;
  const std::pair<const char*, const char*> plain[] = {{"scheme", "fp32"},
                                                       {"activation", "none"},
                                                       {"out_dtype", "fp32"},
                                                       {"bias", "none"},
                                                       {"operands", "float"}};
  for (const auto& [key, word] : plain) {
    Limit limit;
    limit.key = key;
    limit.values = {word};
    rogue.limits.push_back(limit);
  }
  rogue.prepare = [](const Problem& problem, std::span<const Tensor> in,
                     ThreadPool&) -> std::unique_ptr<Prepared> {
    return std::make_unique<Rogue>(problem, in);
  };
  return rogue;
}

}  // namespace pareto::rogue
