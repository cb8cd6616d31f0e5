// A tiny op and variants of it, right and wrong, for the tests of the harness.
#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "harness/errors.h"
#include "harness/op.h"
#include "harness/variant.h"
#include "reference/rotated.h"

namespace pareto::toy {

/// y[M,N] = x[M,K] · w[N,K]ᵀ in fp32; w outlives a call. The key `battery` makes its battery blind.
class Op : public pareto::Op {
 public:
  std::string_view name() const override { return "toy"; }
  std::span<const Key> keys() const override {
    static const std::vector<Key> keys = {
        size_key("M", 3), size_key("N", 5), size_key("K", 7),
        Key{"battery", KeyKind::kWord, std::string("good"), {"good", "blind"}, "", 0, 0, ""}};
    return keys;
  }
  std::span<const std::string> slots() const override {
    static const std::vector<std::string> slots = {"x", "w"};
    return slots;
  }
  void complete(Problem&) const override {}

  TensorMap draw(const Problem& problem, const Draw& draw) const override {
    TensorMap map;
    map["x"] = drawn({problem.size("M"), problem.size("K")}, draw, 1);
    map["w"] = drawn({problem.size("N"), problem.size("K")}, draw, 2);
    return map;
  }
  std::span<const std::string> input_names() const override {
    static const std::vector<std::string> names = {"x", "w"};
    return names;
  }
  void adopt(Problem&, TensorMap&) const override {}
  void narrow(const Problem&, TensorMap&) const override {}
  void vary(const Problem&, TensorMap&, std::int64_t) const override {}
  Operands encode(const Problem&, const TensorMap& inputs) const override {
    return {inputs.at("x"), inputs.at("w")};
  }
  bool persistent(const Problem&, int slot) const override { return slot == 1; }
  Operands rotated(const Problem&, const Operands& operands, std::int64_t by) const override {
    return {operands[0], rotated_rows(operands[1], by)};
  }
  std::vector<OutputSpec> outputs(const Problem& problem, const Operands&) const override {
    return {{"y", DType::kF32, {problem.size("M"), problem.size("N")}}};
  }
  Positions positions(const Problem& problem, const Operands&, std::uint64_t) const override {
    Positions all(1);
    for (std::int64_t i = 0; i < problem.size("M") * problem.size("N"); ++i) all[0].push_back(i);
    return all;
  }
  ReferenceTerms reference(const Problem& problem, const Operands& operands,
                           const Positions& positions, int) const override {
    ++reference_calls();
    const std::int64_t n = problem.size("N");
    const std::int64_t k = problem.size("K");
    Terms terms;
    terms.column.resize(3);  // value, Σ|ab|, Σ(ab)²
    for (const std::int64_t flat : positions[0]) {
      double value = 0;
      double absolute = 0;
      double square = 0;
      for (std::int64_t i = 0; i < k; ++i) {
        const double product =
            operands[0].value(flat / n * k + i) * operands[1].value(flat % n * k + i);
        value += product;
        absolute += std::abs(product);
        square += product * product;
      }
      terms.column[0].push_back(value);
      terms.column[1].push_back(absolute);
      terms.column[2].push_back(square);
    }
    return {terms};
  }
  std::vector<std::vector<double>> original(const Problem& problem, const TensorMap& inputs,
                                            const Positions& positions,
                                            int threads) const override {
    return {reference(problem, encode(problem, inputs), positions, threads)[0].column[0]};
  }
  /// γ_K·Σ|ab| + u|y| and the RMS scale of one fp32 chain.
  Bounds bound(const Problem& problem, int, const Terms& terms,
               const Arithmetic& arithmetic) const override {
    const auto k = static_cast<double>(problem.size("K"));
    const double u = arithmetic.u_acc;
    Bounds bounds;
    for (std::size_t i = 0; i < terms.column[0].size(); ++i) {
      const double y = terms.column[0][i];
      bounds.det.push_back(k * u * terms.column[1][i] + u * std::abs(y));
      bounds.stat.push_back(
          std::sqrt(u * u * (y * y / 3 + k / 3 * (y * y / 3 + terms.column[2][i] / 6))));
    }
    return bounds;
  }
  Work work(const Problem&, const Operands&) const override { return {}; }
  Work estimate(const Problem&) const override { return {}; }

  std::vector<BatteryInput> battery(const Problem& like) const override {
    if (like.word("battery") == "blind") return {input("zero", like, 2, 2, 3, "zero", true)};
    return {input("exact", like, 3, 5, 8, "integer", true),
            input("normal 4x6x33", like, 4, 6, 33, "normal", false)};
  }
  std::vector<Mutant> mutants(const Problem&) const override {
    return {{"zeros", ""}, {"twice", ""}, {"last_k_dropped", ""}, {"swapped_scales", "no scales"}};
  }
  Outputs mutate(std::string_view mutant, const Problem& problem,
                 const Operands& operands) const override {
    const std::int64_t dropped = mutant == "last_k_dropped" ? 1 : 0;
    const float factor = mutant == "zeros" ? 0.0F : mutant == "twice" ? 2.0F : 1.0F;
    HostTensor y(DType::kF32, {problem.size("M"), problem.size("N")});
    multiply(operands[0].view(), operands[1].view(), y.view(), dropped);
    for (float& value : y.span<float>()) value *= factor;
    Outputs outputs;
    outputs.push_back(std::move(y));
    return outputs;
  }

  /// Right answers by one fp32 chain over all but the last `dropped` products.
  static void multiply(const Tensor& x, const Tensor& w, const Tensor& y, std::int64_t dropped) {
    const std::int64_t k = x.shape[1];
    const std::int64_t n = y.shape[1];
    for (std::int64_t flat = 0; flat < y.elements(); ++flat) {
      float sum = 0;
      for (std::int64_t i = 0; i + dropped < k; ++i) {
        sum += x.as<float>()[flat / n * k + i] * w.as<float>()[flat % n * k + i];
      }
      y.as<float>()[flat] = sum;
    }
  }
  static std::atomic<int>& reference_calls() {
    static std::atomic<int> count = 0;
    return count;
  }

 private:
  static Key size_key(const std::string& name, std::int64_t value) {
    Key key;
    key.name = name;
    key.default_value = value;
    return key;
  }
  static HostTensor drawn(const Shape& shape, const Draw& draw, std::uint64_t salt) {
    HostTensor tensor(DType::kF32, shape);
    std::mt19937_64 random(draw.seed * 1000003 + static_cast<std::uint64_t>(draw.content) * 101 +
                           salt);
    std::normal_distribution<float> normal;
    for (float& value : tensor.span<float>()) {
      const float drawn_value = normal(random);
      if (draw.distribution == "normal") value = drawn_value;
      if (draw.distribution == "integer") value = std::nearbyint(4 * drawn_value) + 0.5F;
    }
    return tensor;
  }
  static BatteryInput input(const std::string& name, Problem problem, std::int64_t m,
                            std::int64_t n, std::int64_t k, const std::string& distribution,
                            bool exact) {
    problem.set("M", m).set("N", n).set("K", k);
    return {name, problem, {distribution, 1, 0}, exact};
  }
};

inline const Op& op() {
  static const Op instance;
  return instance;
}

/// What a toy variant does in one call; `w` is a copy that `prepare` took.
using Body = std::function<void(const Call& call, const Tensor& w)>;

/// Body of the variant under test: a plain function pointer cannot carry one.
inline Body& body() {
  static Body current;
  return current;
}

class PreparedToy : public Prepared {
 public:
  explicit PreparedToy(const Tensor& w) : w_(w.dtype, w.shape) {
    if (w.bytes() > 0) std::memcpy(w_.view().data, w.data, w.bytes());
  }
  void run(const Call& call) override { body()(call, w_.view()); }

 private:
  HostTensor w_;
};

inline void compute(const Call& call, const Tensor& w) {
  Op::multiply(call.in[0], w, call.out[0], 0);
}

/// A variant named "toy/tested" that does `what` on every call.
inline Variant variant(Body what) {
  body() = std::move(what);
  Variant tested;
  tested.op = "toy";
  tested.name = "tested";
  tested.prepare = [](const Problem&, std::span<const Tensor> in,
                      ThreadPool&) -> std::unique_ptr<Prepared> {
    return std::make_unique<PreparedToy>(in[1]);
  };
  return tested;
}

}  // namespace pareto::toy
