#include "harness/bound_test.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "harness/poison.h"

namespace pareto {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// A [rows, columns] fp32 output whose reference is 1, 2, 3, … with bound 0.1 and scale 0.05.
struct Comparison {
  explicit Comparison(std::int64_t rows = 4, std::int64_t columns = 8)
      : got(DType::kF32, {rows, columns}), positions(static_cast<std::size_t>(rows * columns)) {
    std::iota(positions.begin(), positions.end(), 0);
    terms.column.resize(1);
    for (const std::int64_t i : positions) {
      terms.column[0].push_back(static_cast<double>(i + 1));
      got.span<float>()[static_cast<std::size_t>(i)] = static_cast<float>(i + 1);
    }
    bounds.det.assign(positions.size(), 0.1);
    bounds.stat.assign(positions.size(), 0.05);
  }
  float& at(std::size_t i) { return got.span<float>()[i]; }
  [[nodiscard]] Verdict verdict() const {
    return bound_test(got.view(), positions, terms, bounds, options);
  }

  HostTensor got;
  std::vector<std::int64_t> positions;
  Terms terms;
  Bounds bounds;
  BoundTestOptions options{.name = "y"};
};

TEST(RoundTo, AgreesWithTheHardwareForFp32) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 200000; ++i) {
    // Exponents from below the least subnormal to beyond the largest number.
    const double mantissa = 1 + std::ldexp(static_cast<double>(random() >> 12U), -52);
    const double near = std::ldexp(mantissa, static_cast<int>(random() % 300) - 160);
    ASSERT_EQ(round_to(DType::kF32, near), static_cast<double>(static_cast<float>(near))) << near;
  }
}

TEST(RoundTo, TiesGoToEvenAndOverflowGoesToInfinity) {
  EXPECT_EQ(round_to(DType::kBf16, 1 + 0x1p-8), 1);
  EXPECT_EQ(round_to(DType::kBf16, 1 + 3 * 0x1p-8), 1 + 0x1p-6);
  EXPECT_EQ(round_to(DType::kF16, 65519.99), 65504);
  EXPECT_EQ(round_to(DType::kF16, 65520), kInfinity);
  EXPECT_EQ(round_to(DType::kF16, -65520), -kInfinity);
  EXPECT_EQ(round_to(DType::kF16, 0x1p-25), 0);
  EXPECT_EQ(round_to(DType::kF16, 0x1.8p-25), 0x1p-24);
  EXPECT_TRUE(std::isnan(round_to(DType::kF16, kNan)));
}

TEST(BoundTest, AcceptsErrorsWithinTheBound) {
  Comparison c;
  c.at(5) += 0.05F;
  const Verdict verdict = c.verdict();
  EXPECT_TRUE(verdict.pass) << verdict.message;
  EXPECT_NEAR(verdict.bound_max, 0.5, 1e-5);
  EXPECT_EQ(verdict.bound_median, 0);
  EXPECT_EQ(verdict.n_compared, 32);
  EXPECT_EQ(verdict.worst_index, 5);
}

TEST(BoundTest, RejectsOneElementBeyondItsBoundAndSaysWhere) {
  Comparison c;
  c.at(31) += 0.2F;
  const Verdict verdict = c.verdict();
  EXPECT_FALSE(verdict.pass);
  EXPECT_EQ(verdict.check, "bound");
  EXPECT_EQ(verdict.n_wrong, 1);
  EXPECT_NE(
      verdict.message.find("1 of 32 compared elements of y [4, 8] are wrong; worst at [3, 7]"),
      std::string::npos)
      << verdict.message;
  EXPECT_NE(verdict.message.find("in the last N tile (7…7 of 8), in the last M tile (3…3 of 4)"),
            std::string::npos)
      << verdict.message;
}

TEST(BoundTest, RejectsManyErrorsThatAreTooLargeTogether) {
  Comparison c(16, 16);
  // Every error is 1.8 of the statistical scale: within the bound of 2, far beyond an RMS of 1.
  for (std::size_t i = 0; i < c.positions.size(); ++i) c.at(i) += 0.09F;
  const Verdict verdict = c.verdict();
  EXPECT_EQ(verdict.check, "rms");
  EXPECT_NEAR(verdict.rms_ratio, 1.8, 1e-3);
}

TEST(BoundTest, FewIndependentElementsWidenTheRmsLimit) {
  Comparison c(16, 16);
  for (std::size_t i = 0; i < c.positions.size(); ++i) c.at(i) += 0.06F;  // mean square 1.44
  EXPECT_EQ(c.verdict().check, "rms");
  c.bounds.independent = 16;  // the limit is then 1 + 5/4
  EXPECT_TRUE(c.verdict().pass);
}

TEST(BoundTest, ElementsWithoutRoundingMustBeExact) {
  Comparison c;
  c.bounds.stat[3] = 0;
  c.at(3) += 0.01F;
  EXPECT_EQ(c.verdict().check, "bound");
}

TEST(BoundTest, WithoutAnyScaleOnlyTheBoundCounts) {
  Comparison c;
  c.bounds.stat.assign(c.positions.size(), 0);
  c.at(3) += 0.01F;
  EXPECT_TRUE(c.verdict().pass);
}

TEST(BoundTest, ExactMeansBitForBitButForTheSignOfZero) {
  Comparison c;
  c.options.exact = true;
  c.terms.column[0][0] = 0;
  c.at(0) = -0.0F;
  EXPECT_TRUE(c.verdict().pass);
  c.at(7) = std::nextafter(c.at(7), 100.0F);
  EXPECT_EQ(c.verdict().check, "exact");
}

TEST(BoundTest, RejectsElementsThatWereNotWrittenEvenIfNotCompared) {
  Comparison c;
  c.positions.pop_back();
  c.terms.column[0].pop_back();
  poison(Tensor{DType::kF32, {1}, c.got.view().data + 31 * sizeof(float)});
  EXPECT_EQ(c.verdict().check, "written");
}

TEST(BoundTest, RejectsNanInOutputEvenIfNotCompared) {
  Comparison c;
  c.positions.pop_back();
  c.terms.column[0].pop_back();
  c.at(31) = static_cast<float>(kNan);
  EXPECT_EQ(c.verdict().check, "nonfinite");
  c.options.operands_finite = false;  // an operand's NaN may have reached it
  EXPECT_TRUE(c.verdict().pass);
}

TEST(BoundTest, NonFiniteElementsMustStandWhereTheReferenceHasThem) {
  for (const double want : {kNan, kInfinity, -kInfinity}) {
    for (const double got : {kNan, kInfinity, -kInfinity, 2.0}) {
      Comparison c;
      c.options.operands_finite = false;
      c.terms.column[0][4] = want;
      c.at(4) = static_cast<float>(got);
      const bool same = std::isnan(want) ? std::isnan(got) : want == got;
      EXPECT_EQ(c.verdict().pass, same) << want << " " << got;
      if (!same) {
        EXPECT_EQ(c.verdict().check, "nonfinite");
      }
    }
  }
}

TEST(BoundTest, DeclaredPlacementsAreHonoured) {
  Comparison c;
  c.bounds.placement.assign(c.positions.size(), Placement::kExact);
  c.bounds.placement[1] = Placement::kAnyNonFinite;
  c.bounds.placement[2] = Placement::kAnything;
  c.terms.column[0][1] = kNan;
  c.at(1) = static_cast<float>(kInfinity);
  c.at(2) = static_cast<float>(kNan);
  EXPECT_TRUE(c.verdict().pass) << c.verdict().message;
  c.at(1) = 1;
  EXPECT_EQ(c.verdict().check, "nonfinite");
}

TEST(BoundTest, OverflowIsJudgedAfterRoundingToTheOutputType) {
  const Terms terms{{{70000, 65519, 65400}}};
  const Bounds bounds{.det = {1, 1, 1}, .stat = {}, .placement = {}};
  const std::vector<std::int64_t> positions = {0, 1, 2};
  HostTensor got(DType::kF16, {3});
  constexpr std::uint16_t kInf16 = 0x7C00;
  constexpr std::uint16_t kMax16 = 0x7BFF;
  const auto verdict = [&](std::uint16_t a, std::uint16_t b, std::uint16_t c) {
    got.span<std::uint16_t>()[0] = a;
    got.span<std::uint16_t>()[1] = b;
    got.span<std::uint16_t>()[2] = c;
    Bounds loose = bounds;
    loose.det[1] = loose.det[2] = 32;  // half an ulp of fp16 up there, and a little
    return bound_test(got.view(), positions, terms, loose, {.name = "y"});
  };
  EXPECT_TRUE(verdict(kInf16, kMax16, 0x7BFC).pass);
  EXPECT_TRUE(verdict(kInf16, kInf16, 0x7BFC).pass);  // within the bound of the edge
  EXPECT_FALSE(verdict(kMax16, kMax16, 0x7BFC).pass);
  EXPECT_FALSE(verdict(kInf16, kMax16, kInf16).pass);
}

TEST(BoundTest, InfinityOfEitherSignIsWithinABoundThatReachesIt) {
  const std::vector<std::int64_t> positions = {0};
  HostTensor got(DType::kF16, {1});
  const auto passes = [&](std::uint16_t code, double want, double det) {
    got.span<std::uint16_t>()[0] = code;
    const Bounds bounds{.det = {det}, .stat = {}, .placement = {}};
    return bound_test(got.view(), positions, Terms{{{want}}}, bounds, {.name = "y"}).pass;
  };
  constexpr std::uint16_t kInf16 = 0x7C00;
  constexpr std::uint16_t kMinusInf16 = 0xFC00;
  constexpr std::uint16_t kMax16 = 0x7BFF;
  EXPECT_TRUE(passes(kInf16, -3e5, 4e6));
  EXPECT_TRUE(passes(kMinusInf16, -3e5, 4e6));
  EXPECT_TRUE(passes(kMax16, -3e5, 4e6));
  EXPECT_FALSE(passes(kInf16, -3e5, 3.2e5));
  EXPECT_FALSE(passes(kMax16, -3e5, 3.2e5));
  EXPECT_FALSE(passes(kMinusInf16, 1, 32));
}

TEST(BoundTest, EmptyOutputPasses) {
  const HostTensor got(DType::kF32, {0, 5});
  const Verdict verdict = bound_test(got.view(), {}, Terms{{{}}}, Bounds{}, {.name = "y"});
  EXPECT_TRUE(verdict.pass);
  EXPECT_EQ(verdict.n_compared, 0);
}

TEST(Locate, NamesTheTileOrPointsAtTheKLoop) {
  const std::vector<std::int64_t> last_columns = {6, 7, 14, 15};
  EXPECT_EQ(locate({2, 8}, last_columns), "in the last N tile (6…7 of 8)");
  const std::vector<std::int64_t> everywhere = {0, 7, 9, 15};
  EXPECT_EQ(locate({2, 8}, everywhere),
            "not confined to an M or N tile: look at the K loop or the scales");
}

}  // namespace
}  // namespace pareto
