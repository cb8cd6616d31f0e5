// The fp64 reference against a naive softmax written here from the definition alone, and the rules
// for empty rows and non-finite values.
#include "reference/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "tests/reference/attention_problems.h"

namespace pareto {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// Numpy-like access to the original tensors, whatever the layout.
struct Naive {
  const TensorMap& in;
  std::int64_t batch, heads_q, heads_kv, d, d_v;
  std::string layout, mask;
  std::int64_t left, right;
  double softcap, scale;

  Naive(const Problem& p, const TensorMap& inputs)
      : in(inputs),
        batch(p.size("batch")),
        heads_q(p.size("heads_q")),
        heads_kv(p.size("heads_kv")),
        d(p.size("head_dim")),
        d_v(p.size("head_dim_v")),
        layout(p.word("layout")),
        mask(p.word("mask")),
        left(p.size("window_left")),
        right(p.size("window_right")),
        softcap(p.real("softcap")),
        scale(std::isnan(p.real("scale")) ? std::pow(static_cast<double>(d), -0.5)
                                          : p.real("scale")) {}

  [[nodiscard]] std::int64_t table(const char* name, std::int64_t at) const {
    return in.at(name).span<std::int32_t>()[at];
  }
  [[nodiscard]] bool ragged_q() const { return layout == "ragged" || layout == "paged_ragged"; }
  [[nodiscard]] std::int64_t queries(std::int64_t b) const {
    return ragged_q() ? table("cu_seqlens_q", b + 1) - table("cu_seqlens_q", b)
                      : in.at("q").shape()[2];
  }
  [[nodiscard]] std::int64_t keys(std::int64_t b) const {
    if (layout == "dense") return in.at("k").shape()[2];
    if (layout == "ragged") return table("cu_seqlens_kv", b + 1) - table("cu_seqlens_kv", b);
    return table("seqlens_kv", b);
  }
  [[nodiscard]] std::int64_t query_row(std::int64_t b, std::int64_t h, std::int64_t i) const {
    if (ragged_q()) return (table("cu_seqlens_q", b) + i) * heads_q + h;
    return (b * heads_q + h) * in.at("q").shape()[2] + i;
  }
  [[nodiscard]] double kv(const char* name, std::int64_t b, std::int64_t h, std::int64_t j,
                          std::int64_t c) const {
    const HostTensor& t = in.at(name);
    const Shape& s = t.shape();
    if (layout == "dense") return t.value(((b * s[1] + h) * s[2] + j) * s[3] + c);
    if (layout == "ragged") return t.value(((table("cu_seqlens_kv", b) + j) * s[1] + h) * s[2] + c);
    const std::int64_t pages = in.at("block_table").shape()[1];
    const std::int64_t page = table("block_table", b * pages + j / s[1]);
    return t.value(((page * s[1] + j % s[1]) * s[2] + h) * s[3] + c);
  }
  [[nodiscard]] double broadcast(const char* name, std::int64_t b, std::int64_t h, std::int64_t i,
                                 std::int64_t j) const {
    const HostTensor& t = in.at(name);
    const std::int64_t index[] = {b, h, i, j};
    std::int64_t flat = 0;
    for (int axis = 0; axis < 4; ++axis) {
      flat = flat * t.shape()[axis] + (t.shape()[axis] == 1 ? 0 : index[axis]);
    }
    return t.value(flat);
  }

  // Fills o (d_v values) and lse of one query.
  void row(std::int64_t b, std::int64_t h, std::int64_t i, double* o, double* lse) const {
    const std::int64_t group = heads_q / heads_kv;
    const std::int64_t offset = mask == "causal_top_left" ? 0 : keys(b) - queries(b);
    std::vector<double> weight;
    std::vector<std::int64_t> key;
    double top = in.count("sinks") != 0 ? in.at("sinks").value(h) : -kInfinity;
    const double sink = top;
    for (std::int64_t j = 0; j < keys(b); ++j) {
      double s = 0;
      for (std::int64_t c = 0; c < d; ++c) {
        s += in.at("q").value(query_row(b, h, i) * d + c) * kv("k", b, h / group, j, c);
      }
      s *= scale;
      if (softcap > 0) s = softcap * std::tanh(s / softcap);
      if (in.count("alibi_slopes") != 0) {
        s -= in.at("alibi_slopes").value(h) * std::abs(static_cast<double>(i + offset - j));
      }
      if (in.count("bias") != 0) s += broadcast("bias", b, h, i, j);
      const bool hidden = (mask != "none" && j > i + offset) ||
                          (left >= 0 && j < i + offset - left) ||
                          (right >= 0 && j > i + offset + right) ||
                          (in.count("allowed") != 0 && broadcast("allowed", b, h, i, j) == 0);
      if (hidden) continue;
      key.push_back(j);
      weight.push_back(s);
      top = std::max(top, s);
    }
    std::fill(o, o + d_v, 0.0);
    *lse = -kInfinity;
    if (top == -kInfinity) return;
    double sum = std::exp(sink - top);
    for (double& w : weight) sum += w = std::exp(w - top);
    for (std::size_t n = 0; n < key.size(); ++n) {
      for (std::int64_t c = 0; c < d_v; ++c) {
        o[c] += weight[n] / sum * kv(in.count("v") != 0 ? "v" : "k", b, h / group, key[n], c);
      }
    }
    *lse = top + std::log(sum);
  }
};

class AttentionReference : public testing::TestWithParam<const char*> {};

TEST_P(AttentionReference, EqualsNaiveSoftmax) {
  const Problem problem = attention_problem(std::string("dtype=fp32 ") + GetParam());
  const TensorMap inputs = problem.op().draw(problem, {.distribution = "normal", .seed = 3});
  const auto values = reference_values(problem, inputs, 2);
  const Naive naive(problem, inputs);
  std::vector<double> o(naive.d_v);
  std::int64_t compared = 0;
  for (std::int64_t b = 0; b < naive.batch; ++b) {
    for (std::int64_t h = 0; h < naive.heads_q; ++h) {
      for (std::int64_t i = 0; i < naive.queries(b); ++i, ++compared) {
        double lse = 0;
        naive.row(b, h, i, o.data(), &lse);
        const std::int64_t row = naive.query_row(b, h, i);
        // Both sum a few hundred terms of magnitude below 100 in fp64: 1e-16 · 1e2 · 1e2.
        constexpr double kLimit = 1e-12;
        for (std::int64_t c = 0; c < naive.d_v; ++c) {
          ASSERT_NEAR(values[0][row * naive.d_v + c], o[c], kLimit) << b << " " << h << " " << i;
        }
        if (std::isinf(lse)) {
          ASSERT_EQ(values[1][row], lse);
        } else {
          ASSERT_NEAR(values[1][row], lse, kLimit) << b << " " << h << " " << i;
        }
      }
    }
  }
  EXPECT_EQ(compared, static_cast<std::int64_t>(values[1].size()));
}

INSTANTIATE_TEST_SUITE_P(
    Options, AttentionReference,
    testing::Values(
        "batch=2 heads_q=6 heads_kv=2 seq_q=9 seq_kv=14 head_dim=8 head_dim_v=5",
        "heads_q=3 heads_kv=1 seq_q=14 seq_kv=9 head_dim=7 mask=causal",
        "heads_q=2 seq_q=9 seq_kv=14 head_dim=8 mask=causal",
        "heads_q=2 seq_q=9 seq_kv=14 head_dim=8 mask=causal_top_left window_right=2",
        "heads_q=2 seq_q=12 seq_kv=20 head_dim=8 window_left=3",
        "heads_q=2 seq_q=20 seq_kv=12 head_dim=8 window_left=3 window_right=1 sinks=given",
        "heads_q=2 seq_q=9 seq_kv=14 head_dim=8 window_right=-1 window_left=0 mask=causal",
        "heads_q=2 seq_q=9 seq_kv=14 head_dim=8 softcap=0.7 bias=full",
        "heads_q=4 seq_q=9 seq_kv=14 head_dim=8 alibi=given mask=causal_top_left",
        "heads_q=4 seq_q=9 seq_kv=14 head_dim=8 alibi=given softcap=1 bias=heads scale=-2",
        "batch=3 heads_q=4 heads_kv=2 seq_q=9 seq_kv=14 head_dim=8 allowed=full bias=shared",
        "batch=3 heads_q=4 heads_kv=2 seq_q=9 seq_kv=14 head_dim=8 allowed=keys bias=keys",
        "batch=3 heads_q=4 heads_kv=2 seq_q=9 seq_kv=14 head_dim=8 allowed=heads sinks=given",
        "batch=6 heads_q=4 heads_kv=2 seq_q=9 seq_kv=14 head_dim=8 layout=ragged mask=causal",
        "batch=6 heads_q=4 heads_kv=2 seq_q=9 seq_kv=14 head_dim=8 layout=ragged bias=full "
        "allowed=shared window_left=4",
        "batch=6 heads_q=4 heads_kv=2 seq_q=3 seq_kv=14 head_dim=8 layout=paged page_size=4 "
        "mask=causal",
        "batch=6 heads_q=4 heads_kv=2 seq_q=9 seq_kv=14 head_dim=8 layout=paged_ragged "
        "page_size=3 mask=causal sinks=given",
        "heads_q=4 heads_kv=1 seq_q=3 seq_kv=14 head_dim=12 head_dim_v=8 v=none",
        "batch=4 heads_q=4 heads_kv=1 seq_q=3 seq_kv=14 head_dim=12 head_dim_v=8 v=none "
        "layout=paged",
        "heads_q=2 seq_q=3 seq_kv=0 head_dim=4", "heads_q=2 seq_q=0 seq_kv=3 head_dim=4",
        "batch=0 seq_q=3 head_dim=4", "heads_q=0 seq_q=3 head_dim=4",
        "seq_q=3 head_dim=4 head_dim_v=0"),
    [](const auto& info) { return std::to_string(info.index); });

TEST(Attention, QueryWithoutKeyIsZeroAndItsSumEmpty) {
  TensorMap inputs;
  inputs["q"] = floats({1, 1, 2, 1}, {1, 1});
  inputs["k"] = floats({1, 1, 1, 1}, {1});
  inputs["v"] = floats({1, 1, 1, 1}, {5});
  const auto values = evaluate(inputs, "mask=causal");
  EXPECT_EQ(values[0], (std::vector<double>{0, 5}));
  EXPECT_EQ(values[1], (std::vector<double>{-kInfinity, 1}));
}

TEST(Attention, SinkAloneGivesZeroAndItself) {
  TensorMap inputs;
  inputs["q"] = floats({1, 2, 1, 1}, {1, 1});
  inputs["k"] = floats({1, 1, 0, 1}, {});
  inputs["v"] = floats({1, 1, 0, 1}, {});
  inputs["sinks"] = floats({2}, {0.25F, -kInf});
  const auto values = evaluate(inputs, "scale=3 softcap=0.1");
  EXPECT_EQ(values[0], (std::vector<double>{0, 0}));
  EXPECT_EQ(values[1], (std::vector<double>{0.25, -kInfinity}));
}

TEST(Attention, SinkBesideNoKeyMayBeInfinite) {
  TensorMap inputs;
  inputs["q"] = floats({1, 1, 2, 1}, {1, kInf});
  inputs["k"] = floats({1, 1, 1, 1}, {-1});
  inputs["v"] = floats({1, 1, 1, 1}, {5});
  inputs["sinks"] = floats({1}, {kInf});
  const auto values = evaluate(inputs);
  EXPECT_FALSE(std::isfinite(values[0][0]));
  EXPECT_EQ(values[0][1], 0);
  EXPECT_EQ(values[1], (std::vector<double>{kInfinity, kInfinity}));
}

TEST(Attention, SinkTakesPartOfTheWeight) {
  TensorMap inputs;
  inputs["q"] = floats({1, 1, 1, 1}, {0});
  inputs["k"] = floats({1, 1, 3, 1}, {1, 2, 3});
  inputs["v"] = floats({1, 1, 3, 1}, {4, 8, 12});
  inputs["sinks"] = floats({1}, {0});
  const auto values = evaluate(inputs);
  EXPECT_DOUBLE_EQ(values[0][0], 6);
  EXPECT_DOUBLE_EQ(values[1][0], std::log(4.0));
}

TEST(Attention, RowOfMinusInfinitiesHasNoKey) {
  TensorMap inputs;
  inputs["q"] = floats({1, 1, 2, 1}, {1, 1});
  inputs["k"] = floats({1, 1, 2, 1}, {1, 1});
  inputs["v"] = floats({1, 1, 2, 1}, {5, 7});
  inputs["bias"] = floats({2, 2}, {-kInf, -kInf, -kInf, 0});
  const auto values = evaluate(inputs);
  EXPECT_EQ(values[0], (std::vector<double>{0, 7}));
  EXPECT_EQ(values[1], (std::vector<double>{-kInfinity, 1}));
}

TEST(Attention, UnseenKeysMayHoldAnything) {
  TensorMap inputs;
  inputs["q"] = floats({1, 1, 1, 1}, {1});
  inputs["k"] = floats({1, 1, 3, 1}, {2, kNaN, kInf});
  inputs["v"] = floats({1, 1, 3, 1}, {5, kInf, kNaN});
  for (const char* settings : {"mask=causal_top_left", "mask=causal_top_left dtype=bf16",
                               "mask=causal_top_left dtype=fp8_e4m3 out_dtype=fp32",
                               "mask=causal_top_left kv_dtype=int8"}) {
    const auto values = evaluate(inputs, settings);
    EXPECT_NEAR(values[0][0], 5, 1e-6) << settings;  // the scale is rounded to fp32
    EXPECT_NEAR(values[1][0], 2, 1e-6) << settings;
  }
}

TEST(Attention, SeenNonFiniteValuesShowWhereTheyAreSeen) {
  TensorMap inputs;
  inputs["q"] = floats({1, 1, 3, 1}, {1, 1, kNaN});
  inputs["k"] = floats({1, 1, 3, 1}, {1, 1, 1});
  inputs["v"] = floats({1, 1, 3, 2}, {1, 1, kInf, 1, 1, 1});
  const auto values = evaluate(inputs, "mask=causal");
  EXPECT_EQ(values[0][0], 1);
  EXPECT_FALSE(std::isfinite(values[0][2]));
  EXPECT_EQ(values[0][3], 1);
  EXPECT_TRUE(std::isnan(values[0][4]) && std::isnan(values[0][5]));
  EXPECT_TRUE(std::isfinite(values[1][1]));
  EXPECT_TRUE(std::isnan(values[1][2]));
}

TEST(Attention, LeaksOnlyWhereDeclared) {
  const Problem problem =
      attention_problem("heads_q=1 seq_q=2 seq_kv=2 head_dim=1 head_dim_v=2 mask=causal");
  TensorMap inputs;
  inputs["q"] = floats({1, 1, 2, 1}, {1, 1});
  inputs["k"] = floats({1, 1, 2, 1}, {1, 1});
  inputs["v"] = floats({1, 1, 2, 2}, {1, 1, kNaN, 1});
  const Operands operands = problem.op().encode(problem, inputs);
  const ReferenceTerms terms =
      problem.op().reference(problem, operands, all_positions(problem, operands), 1);
  Arithmetic arithmetic;
  using Places = std::vector<Placement>;
  EXPECT_EQ(
      problem.op().bound(problem, 0, terms[0], arithmetic).placement,
      (Places{Placement::kExact, Placement::kExact, Placement::kAnyNonFinite, Placement::kExact}));
  arithmetic.leaks_nonfinite = true;
  EXPECT_EQ(problem.op().bound(problem, 0, terms[0], arithmetic).placement,
            (Places{Placement::kAnything, Placement::kExact, Placement::kAnyNonFinite,
                    Placement::kExact}));
}

TEST(Attention, ResultDoesNotDependOnThreads) {
  const Problem problem = attention_problem("heads_q=6 heads_kv=2 seq_q=40 mask=causal bias=full");
  const TensorMap inputs = problem.op().draw(problem, {});
  EXPECT_EQ(reference_values(problem, inputs, 1), reference_values(problem, inputs, 5));
}

TEST(Attention, CountsWorkOfTheMask) {
  const Problem problem = attention_problem(
      "batch=2 heads_q=4 heads_kv=2 seq_q=3 seq_kv=5 head_dim=8 head_dim_v=4 "
      "mask=causal dtype=bf16");
  const Operands operands = problem.op().encode(problem, problem.op().draw(problem, {}));
  const Work work = problem.op().work(problem, operands);
  EXPECT_EQ(work.flops, 2.0 * 2 * 4 * (3 + 4 + 5) * (8 + 4));
  EXPECT_EQ(work.bytes, 2.0 * (2 * 4 * 3 * (8 + 4) + 2 * 2 * 5 * (8 + 4)) + 4 * 2 * 4 * 3);
  EXPECT_EQ(problem.op().estimate(problem).flops, work.flops);
}

// flops of those that each query sees; bytes of those that some query sees, each once.
TEST(Attention, CountsVisibleKeysInClosedForm) {
  for (const char* settings :
       {"", "mask=causal", "mask=causal_top_left", "window_left=3", "window_right=2",
        "window_left=0 window_right=0", "mask=causal window_left=4 window_right=7",
        "mask=causal_top_left window_left=2", "window_left=100000 window_right=9000000000000000"}) {
    for (const std::int64_t seq_q : {0, 1, 7, 12}) {
      for (const std::int64_t seq_kv : {0, 1, 7, 12}) {
        Problem problem = attention_problem(std::string("heads_q=1 head_dim=1 ") + settings);
        problem.set("seq_q", seq_q).set("seq_kv", seq_kv);
        const AttentionProblem p = AttentionProblem::from(problem);
        double want = 0;
        std::set<std::int64_t> seen;
        for (std::int64_t i = 0; i < seq_q; ++i) {
          const KeyRange keys = p.visible(i, seq_q, seq_kv);
          want += static_cast<double>(keys.size());
          for (std::int64_t j = keys.lo; j < keys.hi; ++j) seen.insert(j);
        }
        const Work work = problem.op().estimate(problem);
        EXPECT_EQ(work.flops, 4 * want) << settings << " " << seq_q << " " << seq_kv;
        const double rows = 4.0 * static_cast<double>(seq_q) * 3;  // q, o and LSE in fp32
        EXPECT_EQ(work.bytes, rows + 8 * static_cast<double>(seen.size()))
            << settings << " " << seq_q << " " << seq_kv;
      }
    }
  }
}

TEST(Attention, SamplesRowsOfBigProblems) {
  const Problem problem = attention_problem("heads_q=2 seq_q=4096 seq_kv=4096 head_dim=64");
  const Operands operands = problem.op().encode(problem, problem.op().draw(problem, {}));
  const Positions positions = problem.op().positions(problem, operands, 1);
  EXPECT_GE(positions[0].size(), 4096U);
  EXPECT_LT(positions[0].size(), 20000U);
  EXPECT_TRUE(std::is_sorted(positions[0].begin(), positions[0].end()));
  EXPECT_EQ(positions[0].front(), 0);
  EXPECT_EQ(positions[0].back(), 2 * 4096 * 64 - 1);
  EXPECT_EQ(positions[1].size() * 64, positions[0].size());
  EXPECT_NE(positions, problem.op().positions(problem, operands, 2));
}

TEST(Attention, OriginalIgnoresTheTypes) {
  const Problem exact = attention_problem("heads_q=2 seq_q=5 head_dim=8");
  Problem coarse = attention_problem("heads_q=2 seq_q=5 head_dim=8 dtype=bf16 kv_dtype=int8");
  const TensorMap inputs = exact.op().draw(exact, {});
  const auto want = reference_values(exact, inputs);
  const Operands operands = coarse.op().encode(coarse, inputs);
  EXPECT_EQ(coarse.op().original(coarse, inputs, all_positions(coarse, operands), 1), want);
  EXPECT_NE(reference_values(coarse, inputs), want);
}

}  // namespace
}  // namespace pareto
