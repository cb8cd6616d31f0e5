#include "reference/sparse.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "harness/checker.h"
#include "harness/errors.h"
#include "harness/mutant_trust.h"
#include "harness/registry.h"
#include "reference/number_formats.h"
#include "reference/prune.h"
#include "reference/sparse_formats.h"

namespace pareto {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<std::string> formats() {
  return {"csr",    "sell", "bsr16",  "bsr32",  "bsr64",
          "bsr128", "2to4", "bitmap", "skip_x", "lowrank"};
}

Problem make(const std::string& settings) {
  Problem problem(find_op("sparse"));
  std::size_t begin = 0;
  while (begin < settings.size()) {
    const std::size_t end = std::min(settings.find(' ', begin), settings.size());
    const std::string pair = settings.substr(begin, end - begin);
    problem.set_text(pair.substr(0, pair.find('=')), pair.substr(pair.find('=') + 1));
    begin = end + 1;
  }
  problem.op().complete(problem);
  return problem;
}

HostTensor tensor(const Shape& shape, const std::vector<float>& values) {
  HostTensor result(DType::kF32, shape);
  std::copy(values.begin(), values.end(), result.span<float>().begin());
  return result;
}

// One fp32 FMA chain in order of k, bias added last; the activation in fp64, rounded to fp32.
Outputs emulate(const Problem& problem, const Operands& operands) {
  const SparseProblem p = SparseProblem::from(problem);
  std::vector<Tensor> in;
  for (const HostTensor& operand : operands) in.push_back(operand.view());
  const SparseReader reader(p, in);
  const bool low_rank = p.format == SparseFormat::kLowRank;
  const auto value = [&](SparseSlot slot, std::int64_t i) {
    return static_cast<float>(value_at(in[slot], i));
  };
  Outputs outputs;
  outputs.emplace_back(p.out_dtype, Shape{p.M, p.N});
  SparseRow w;
  for (std::int64_t m = 0; m < p.M; ++m) {
    std::vector<float> inner(static_cast<std::size_t>(p.rank), 0.0F);
    for (std::int64_t r = 0; r < (low_rank ? p.rank : 0); ++r) {
      float& t = inner[static_cast<std::size_t>(r)];
      for (std::int64_t k = 0; k < p.K; ++k) {
        t = std::fma(value(kSparseX, m * p.K + k), value(kSparseB, r * p.K + k), t);
      }
    }
    for (std::int64_t n = 0; n < p.N; ++n) {
      float sum = 0;
      if (low_rank) {
        for (std::int64_t r = 0; r < p.rank; ++r) {
          sum = std::fma(inner[static_cast<std::size_t>(r)], value(kSparseA, n * p.rank + r), sum);
        }
      } else {
        reader.read(n, w);
        for (std::size_t i = 0; i < w.k.size(); ++i) {
          const float x = value(kSparseX, m * p.K + w.k[i]);
          if (p.format == SparseFormat::kSkipX && x == 0) continue;
          sum = std::fma(x, static_cast<float>(w.value[i]), sum);
        }
      }
      if (p.has_bias) sum += in[kSparseBias].as<float>()[n];
      const auto y = static_cast<float>(activate(p.activation, static_cast<double>(sum)));
      store_rounded(outputs[0].view(), m * p.N + n, static_cast<double>(y));
    }
  }
  return outputs;
}

void expect_emulation_passes(const std::string& settings) {
  const Problem like = make(settings);
  for (const BatteryInput& input : like.op().battery(like)) {
    const Operands operands = input.problem.op().encode(
        input.problem, input.problem.op().draw(input.problem, input.draw));
    const Expected expected = expect(input.problem, operands, input.exact, 1, 1);
    const Outputs got = emulate(input.problem, operands);
    const Verdict verdict = verify(expected, bounds_of(expected, Arithmetic{}), views_of(got));
    EXPECT_TRUE(verdict.pass) << settings << ": " << input.name << ": " << verdict.message;
  }
}

TEST(Sparse, CorrectArithmeticPassesTheBatteryOfEveryFormat) {
  for (const std::string& format : formats()) {
    for (const char* dtype : {"fp32", "bf16", "fp16"}) {
      expect_emulation_passes("format=" + format + " dtype=" + dtype);
    }
  }
}

TEST(Sparse, CorrectArithmeticPassesWithEveryOption) {
  for (const char* options :
       {"bias=present activation=gelu out_dtype=bf16", "bias=present activation=relu",
        "activation=silu out_dtype=fp16", "activation=sigmoid", "activation=tanh",
        "method=magnitude_row sparsity=0.5", "method=nm", "method=soft_threshold theta=0.5"}) {
    for (const char* format : {"csr", "bsr16", "bitmap", "skip_x"}) {
      expect_emulation_passes(std::string("format=") + format + " " + options);
    }
  }
  expect_emulation_passes("format=lowrank method=svd bias=present");
}

// As of a kernel that sets DAZ and does not declare it.
TEST(Sparse, AnUndeclaredFlushOfSubnormalOperandsIsRejected) {
  for (const char* format : {"csr", "sell", "bsr16", "2to4", "bitmap", "skip_x"}) {
    const Problem like = make(std::string("format=") + format);
    bool rejected = false;
    for (const BatteryInput& input : like.op().battery(like)) {
      if (input.draw.distribution != "subnormal") continue;
      const Operands operands =
          like.op().encode(input.problem, like.op().draw(input.problem, input.draw));
      const Expected expected = expect(input.problem, operands, input.exact, 1, 1);
      Operands flushed = operands;
      for (float& value : flushed[kSparseX].span<float>()) {
        if (std::fpclassify(value) == FP_SUBNORMAL) value = 0;
      }
      const Outputs got = emulate(input.problem, flushed);
      rejected = !verify(expected, bounds_of(expected, Arithmetic{}), views_of(got)).pass;
    }
    EXPECT_TRUE(rejected) << format;
  }
}

TEST(Sparse, EveryMutantOfEveryFormatIsRejected) {
  for (const std::string& format : formats()) {
    for (const char* options : {"dtype=fp32", "dtype=bf16 bias=present activation=silu",
                                "dtype=fp16 bias=present out_dtype=bf16 activation=tanh"}) {
      const Problem like = make("format=" + format + " " + options);
      const MutantTrust& trust = mutant_trust(like, Arithmetic{}, 1);
      EXPECT_EQ(trust.survivors(), "") << like.text();
    }
  }
  Arithmetic lanes;
  lanes.acc_lanes = 16;
  lanes.multiplies_pruned = true;
  EXPECT_EQ(mutant_trust(make("format=bitmap"), lanes, 1).survivors(), "");
}

TEST(Sparse, MutantsThatCannotExistSayWhy) {
  int not_applicable = 0;
  const Problem like = make("format=lowrank");
  for (const Mutant& mutant : like.op().mutants(like)) {
    if (!mutant.not_applicable.empty()) ++not_applicable;
  }
  EXPECT_EQ(not_applicable, 2);  // no column indices, no bias
}

// y = x·pruned(w)ᵀ + bias by hand.
TEST(Sparse, ReferenceIsThePrunedProduct) {
  const Problem problem = make("M=2 N=2 K=4 sparsity=0.5 bias=present activation=relu");
  TensorMap inputs;
  inputs["x"] = tensor({2, 4}, {1, 2, 3, 4, -1, -1, -1, -1});
  inputs["w"] = tensor({2, 4}, {5, 1, 1, 6, 1, 7, -8, 1});
  inputs["bias"] = tensor({2}, {0.5, -2});
  const Operands operands = problem.op().encode(problem, inputs);
  EXPECT_EQ(operands[kSparseValues].elements(), 4);
  const Positions positions = problem.op().positions(problem, operands, 1);
  const ReferenceTerms terms = problem.op().reference(problem, operands, positions, 1);
  EXPECT_EQ(terms[0].column[0], (std::vector<double>{29.5, 0, 0, 0}));
  // The unpruned product, for the compression error.
  EXPECT_EQ(problem.op().original(problem, inputs, positions, 1)[0],
            (std::vector<double>{34.5, 0, 0, 0}));
  const Work work = problem.op().work(problem, operands);
  EXPECT_EQ(work.flops, 2 * 2 * 4);
  EXPECT_EQ(work.compressed_bytes, 4 * 4 + 4 * 4 + 3 * 8);
}

TEST(Sparse, NonFiniteOppositePrunedWeightsIsSkippedUnlessDeclared) {
  const Problem problem = make("M=1 N=2 K=3");
  TensorMap inputs;
  inputs["x"] = tensor({1, 3}, {kNan, 2, kInf});
  inputs["w"] = tensor({2, 3}, {0, 3, -0.0F, 1, 0, 0});
  const Operands operands = problem.op().encode(problem, inputs);
  const Expected expected = expect(problem, operands, false, 1, 1);
  EXPECT_EQ(expected.terms->at(0).column[0][0], 6.0);
  EXPECT_TRUE(std::isnan(expected.terms->at(0).column[0][1]));
  EXPECT_TRUE(bounds_of(expected, Arithmetic{})[0].placement.empty());
  Arithmetic leaks;
  leaks.multiplies_pruned = true;
  const std::vector<Bounds> bounds = bounds_of(expected, leaks);
  EXPECT_EQ(bounds[0].placement[0], Placement::kAnything);
  // The second row is NaN anyway, and has infinity opposite a pruned weight too.
  EXPECT_EQ(bounds[0].placement[1], Placement::kAnything);
}

TEST(Sparse, SkipXSkipsTheZerosOfX) {
  const Problem problem = make("M=1 N=1 K=4 format=skip_x sparsity=0.5");
  TensorMap inputs;
  inputs["x"] = tensor({1, 4}, {1, 3, 2, 4});
  inputs["w"] = tensor({1, 4}, {kNan, 10, kInf, 1});
  const Operands operands = problem.op().encode(problem, inputs);
  const ReferenceTerms terms =
      problem.op().reference(problem, operands, problem.op().positions(problem, operands, 1), 1);
  EXPECT_EQ(terms[0].column[0][0], 34.0);
  EXPECT_EQ(problem.op().work(problem, operands).flops, 4);
}

TEST(Sparse, SkipXReadsTheColumnsThatAnyTokenNeeds) {
  const Problem problem = make("M=2 N=3 K=4 format=skip_x");
  TensorMap inputs;
  inputs["x"] = tensor({2, 4}, {1, 0, 2, 0, 3, 0, 0, 0});
  inputs["w"] = tensor({3, 4}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  const Work work = problem.op().work(problem, problem.op().encode(problem, inputs));
  EXPECT_EQ(work.flops, 2 * 3 * 3);
  EXPECT_EQ(work.compressed_bytes, 4 * 3 * 4);
  EXPECT_EQ(work.bytes, 4 * 3 * 2 + 4 * 2 * 4 + 4 * 2 * 3);
  const Problem asked = make("M=2 N=3 K=4 format=skip_x sparsity=0.5");
  EXPECT_EQ(asked.op().estimate(asked).bytes, 4 * 3 * 4 * 0.75 + 4 * 2 * 4 + 4 * 2 * 3);
}

TEST(Sparse, LowRankTakesGivenFactorsOrMakesThem) {
  TensorMap inputs;
  inputs["x"] = tensor({1, 3}, {1, 2, 3});
  inputs["a"] = tensor({2, 1}, {10, 100});
  inputs["b"] = tensor({1, 3}, {1, 0, 1});
  Problem given = make("format=lowrank");
  given.set("rank", std::int64_t{-1});
  given.op().adopt(given, inputs);
  given.op().complete(given);
  EXPECT_EQ(given.size("rank"), 1);
  EXPECT_EQ(given.size("N"), 2);
  const Operands operands = given.op().encode(given, inputs);
  const Positions positions = given.op().positions(given, operands, 1);
  EXPECT_EQ(given.op().reference(given, operands, positions, 1)[0].column[0],
            (std::vector<double>{40, 400}));
  TensorMap dense;
  dense["x"] = tensor({1, 3}, {1, 2, 3});
  dense["w"] = tensor({2, 3}, {10, 0, 10, 100, 0, 100});
  Problem svd = make("format=lowrank rank=1 N=2 K=3");
  svd.op().adopt(svd, dense);
  EXPECT_EQ(svd.word("method"), "svd");
  const Operands factors = svd.op().encode(svd, dense);
  const ReferenceTerms terms = svd.op().reference(svd, factors, positions, 1);
  // W has rank 1; its factors are rounded to fp32.
  EXPECT_NEAR(terms[0].column[0][0], 40, 40 * 4 * kU32);
  EXPECT_NEAR(terms[0].column[0][1], 400, 400 * 4 * kU32);
  EXPECT_EQ(svd.op().original(svd, dense, positions, 1)[0], (std::vector<double>{40, 400}));
}

std::string message_of(const std::string& settings, TensorMap inputs) {
  try {
    Problem problem(find_op("sparse"));
    problem = make(settings);
    problem.op().adopt(problem, inputs);
    problem.op().complete(problem);
    problem.op().encode(problem, inputs);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(Sparse, BadInputIsNamed) {
  TensorMap inputs;
  inputs["x"] = tensor({1, 3}, {1, 2, 3});
  EXPECT_NE(message_of("", inputs).find("dataset w is missing"), std::string::npos);
  inputs["w"] = tensor({2, 4}, std::vector<float>(8, 1.0F));
  EXPECT_NE(message_of("", inputs).find("dataset w has K = 4"), std::string::npos);
  inputs["w"] = tensor({2, 3}, std::vector<float>(6, 1.0F));
  EXPECT_NE(message_of("format=2to4", inputs).find("more than 2 nonzeros in row 0"),
            std::string::npos);
  EXPECT_EQ(message_of("format=2to4 sparsity=0.5", inputs), "");
  inputs["bias"] = tensor({3}, {1, 2, 3});
  EXPECT_NE(message_of("", inputs).find("dataset bias has N = 3"), std::string::npos);
  EXPECT_NE(message_of("format=2to4 sparsity=0.7", {}).find("0.5 or keep"), std::string::npos);
  EXPECT_NE(message_of("method=svd", {}).find("format = lowrank"), std::string::npos);
  EXPECT_NE(message_of("method=nm n=5 m=4", {}).find("above m = 4"), std::string::npos);
  EXPECT_NE(message_of("format=lowrank method=svd N=4 K=4 rank=5", {}).find("above min(N, K) = 4"),
            std::string::npos);
}

TEST(Sparse, FactoringADatasetNeedsARank) {
  TensorMap inputs;
  inputs["x"] = tensor({1, 3}, {1, 2, 3});
  inputs["w"] = tensor({2, 3}, std::vector<float>(6, 1.0F));
  Problem problem(find_op("sparse"));
  problem.set("format", std::string("lowrank"));
  EXPECT_THROW(problem.op().adopt(problem, inputs), InputError);
}

TEST(Sparse, FilesAreCutToTheRowsAskedFor) {
  TensorMap inputs;
  inputs["x"] = tensor({3, 2}, {1, 2, 3, 4, 5, 6});
  inputs["w"] = tensor({1, 2}, {1, 1});
  Problem problem = make("M=2");
  problem.op().narrow(problem, inputs);
  problem.op().adopt(problem, inputs);
  EXPECT_EQ(problem.size("M"), 2);
  EXPECT_EQ(problem.size("K"), 2);
  problem.op().vary(problem, inputs, 1);
  EXPECT_EQ(inputs["x"].value(0), 2.0);
  EXPECT_EQ(inputs["x"].value(1), 1.0);
  problem.set("M", std::int64_t{4});
  EXPECT_THROW(problem.op().narrow(problem, inputs), InputError);
}

TEST(Sparse, ContentsShareTheirWeights) {
  const Problem problem = make("M=4 N=8 K=16 format=csr sparsity=0.5");
  Draw first;
  Draw second;
  second.content = 1;
  const TensorMap a = problem.op().draw(problem, first);
  const TensorMap b = problem.op().draw(problem, second);
  EXPECT_EQ(a.at("w").value(5), b.at("w").value(5));
  EXPECT_NE(a.at("x").value(5), b.at("x").value(5));
}

TEST(Sparse, BigProblemsAreSampled) {
  const Problem problem = make("M=512 N=4096 K=4096");
  const Positions positions = problem.op().positions(problem, Operands(kSparseSlotCount), 1);
  EXPECT_GE(positions[0].size(), 4096U);
  EXPECT_LT(positions[0].size(), 16384U);
  EXPECT_TRUE(std::is_sorted(positions[0].begin(), positions[0].end()));
  EXPECT_EQ(positions[0].back(), 512 * 4096 - 1);
}

TEST(Sparse, EstimateAgreesWithWork) {
  for (const std::string& format : formats()) {
    const Problem problem = make("M=8 N=256 K=256 sparsity=0.5 rank=32 format=" + format);
    const Operands operands = problem.op().encode(problem, problem.op().draw(problem, Draw{}));
    const Work work = problem.op().work(problem, operands);
    const Work estimate = problem.op().estimate(problem);
    // Half of the weights survive exactly; sell alone pads, by well under half.
    const bool whole = format == "bsr128";  // 2 of 4 blocks
    EXPECT_NEAR(work.flops, estimate.flops, whole ? 0 : 1e-9) << format;
    EXPECT_NEAR(work.bytes, estimate.bytes, 0.25 * work.bytes) << format;
  }
}

}  // namespace
}  // namespace pareto
