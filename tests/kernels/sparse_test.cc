// Every variant of sparse on the op's own battery, and on problems large enough to block.
#include "reference/sparse.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "harness/check_battery.h"
#include "harness/checker.h"
#include "harness/registry.h"
#include "kernels/sparse/pair_bitmap.h"

namespace pareto {
namespace {

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

std::vector<const Variant*> runnable(const Problem& problem) {
  std::vector<const Variant*> found;
  for (const Variant* variant : variants()) {
    if (variant->op == "sparse" && !variant->baseline && variant->needs_cuda == 0 &&
        missing_here(*variant).empty() && refusal(*variant, problem).empty()) {
      found.push_back(variant);
    }
  }
  return found;
}

void expect_pass(const Variant& variant, const Problem& problem, bool battery,
                 const std::string& distribution = "normal") {
  ThreadPool pool(2);
  CheckOptions options;
  options.battery = battery;
  options.mutants = false;  // tests/reference/sparse_test.cc has them
  options.pool_sizes = battery ? std::vector<int>{1, 3} : std::vector<int>{};
  Draw draw;
  draw.distribution = distribution;
  if (!battery) options.own.push_back(own_input(problem, draw));
  const CheckReport report = check_variant(variant, problem, pool, options);
  EXPECT_EQ(report.status, CheckStatus::kPass)
      << full_name(variant) << " " << problem.text() << ": " << report.message;
  EXPECT_LE(report.rms_ratio, 1.0) << full_name(variant) << " " << problem.text();
}

class SparseVariants : public testing::TestWithParam<std::string> {};

TEST_P(SparseVariants, PassTheBattery) {
  for (const char* options :
       {"dtype=fp32", "dtype=bf16 bias=present activation=gelu out_dtype=bf16",
        "dtype=fp16 bias=present activation=relu out_dtype=fp16"}) {
    const Problem problem = make("format=" + GetParam() + " " + options);
    for (const Variant* variant : runnable(problem)) expect_pass(*variant, problem, true);
  }
}

TEST_P(SparseVariants, PassOnLargerProblems) {
  for (const char* options : {"M=1 N=1000 K=1537 dtype=bf16", "M=16 N=515 K=2048 dtype=fp32",
                              "M=150 N=260 K=700 dtype=fp16 bias=present activation=silu"}) {
    const Problem problem = make("sparsity=0.5 format=" + GetParam() + " " + options);
    for (const Variant* variant : runnable(problem)) expect_pass(*variant, problem, false);
  }
}

// One strip of one and of two vectors of rows, several strips that share expanded chunks, rows and
// columns that end amid a vector and a chunk.
TEST_P(SparseVariants, PassAtTheEdgesOfStripsAndChunks) {
  if (GetParam() == "lowrank" || GetParam() == "skip_x") GTEST_SKIP() << "has no stored pattern";
  for (const char* options :
       {"M=9 N=67 K=1022", "M=14 N=35 K=1027", "M=16 N=33 K=9", "M=21 N=67 K=1022",
        "M=30 N=35 K=1030", "M=40 N=32 K=512", "M=25 N=33 K=6"}) {
    const Problem problem = make("sparsity=0.5 dtype=bf16 format=" + GetParam() + " " + options);
    for (const Variant* variant : runnable(problem)) expect_pass(*variant, problem, false);
  }
}

// W in several streams, whose shares of K leave chunks and parts of chunks over; many tokens, whose
// W is expanded or visited in blocks of K.
TEST_P(SparseVariants, PassWithOneAndWithManyTokens) {
  if (GetParam() == "lowrank" || GetParam() == "skip_x") GTEST_SKIP() << "has no stored pattern";
  for (const char* options : {"M=1 N=35 K=130", "M=1 N=40 K=300", "M=2 N=33 K=517",
                              "M=67 N=150 K=1100", "M=100 N=40 K=64", "M=600 N=1000 K=70"}) {
    for (const char* dtype : {"fp32", "bf16", "fp16"}) {
      const Problem problem =
          make("sparsity=0.5 format=" + GetParam() + " dtype=" + dtype + " " + options);
      for (const Variant* variant : runnable(problem)) expect_pass(*variant, problem, false);
    }
  }
}

// Indices of 16 bits end at 65535; one more column, or a place behind the last, needs 32.
TEST_P(SparseVariants, PassAtTheLimitOfShortIndices) {
  if (GetParam() == "lowrank") GTEST_SKIP() << "has no indices";
  for (const char* options : {"M=1 N=19 K=65535", "M=2 N=19 K=65536", "M=1 N=19 K=65537"}) {
    const Problem problem = make("sparsity=0.5 format=" + GetParam() + " " + options);
    for (const Variant* variant : runnable(problem)) expect_pass(*variant, problem, false);
  }
}

// Rows of very different length: some are cut, slices differ, threads share the nonzeros.
TEST_P(SparseVariants, PassOnUnevenRows) {
  if (GetParam() == "lowrank" || GetParam() == "2to4") GTEST_SKIP() << "has no uneven rows";
  for (const char* options : {"M=1 N=500 K=3000", "M=3 N=500 K=3000", "M=40 N=300 K=900"}) {
    const Problem problem = make("sparsity=0.95 format=" + GetParam() + " " + options);
    for (const Variant* variant : runnable(problem)) {
      expect_pass(*variant, problem, false, "scaled");
    }
  }
}

// Vectors without a zero: what is expanded ahead of the last one lies behind the values.
TEST(SparseBitmap, PassesWithoutZeros) {
  for (const char* options : {"M=9 N=64 K=512", "M=16 N=48 K=24", "M=30 N=64 K=1024"}) {
    const Problem problem = make(std::string("sparsity=0 format=bitmap dtype=bf16 ") + options);
    for (const Variant* variant : runnable(problem)) expect_pass(*variant, problem, false);
  }
}

// What AVX-512 and AMX multiply, whether W came as csr or as a bitmap.
TEST(PairBitmap, IsTheSameFromEitherFormat) {
  std::vector<PairBitmap> packed;
  for (const char* format : {"csr", "bitmap"}) {
    const Problem problem =
        make(std::string("M=3 N=75 K=131 sparsity=0.6 dtype=bf16 format=") + format);
    const Operands operands = problem.op().encode(problem, problem.op().draw(problem, Draw{}));
    std::vector<Tensor> in;
    for (const HostTensor& operand : operands) in.push_back(operand.view());
    packed.emplace_back(SparseProblem::from(problem), in, 2, 68, 32);
  }
  ASSERT_EQ(packed[0].bytes(), packed[1].bytes());
  for (std::int64_t panel = 0; panel < packed[0].panels(); ++panel) {
    for (std::int64_t chunk = 0; chunk < 3; ++chunk) {
      const std::uint32_t* masks[] = {packed[0].masks(panel, 32 * chunk),
                                      packed[1].masks(panel, 32 * chunk)};
      const std::int64_t count = 2 * std::min<std::int64_t>(32, 68 - 32 * chunk);
      EXPECT_TRUE(std::equal(masks[0], masks[0] + count, masks[1])) << panel << " " << chunk;
      std::int64_t values = 0;
      for (std::int64_t i = 0; i < count; ++i) values += std::popcount(masks[0][i]);
      EXPECT_GT(values, 0);
      EXPECT_EQ(std::memcmp(packed[0].values(panel, chunk), packed[1].values(panel, chunk),
                            static_cast<std::size_t>(values) * sizeof(std::uint16_t)),
                0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, SparseVariants,
                         testing::Values("csr", "sell", "bsr16", "bsr32", "bsr64", "bsr128", "2to4",
                                         "bitmap", "skip_x", "lowrank"),
                         [](const auto& info) { return "format_" + info.param; });

TEST(SparseScalar, DeclinesNothing) {
  const Variant& scalar = find_variant(find_op("sparse"), "scalar");
  for (const char* options :
       {"M=0 N=3 K=5", "format=skip_x sparsity=0.5", "format=lowrank method=svd N=8 K=8 rank=2",
        "method=nm n=1 m=3", "method=soft_threshold theta=0.1 activation=tanh"}) {
    EXPECT_EQ(refusal(scalar, make(options)), "") << options;
  }
}

}  // namespace
}  // namespace pareto
