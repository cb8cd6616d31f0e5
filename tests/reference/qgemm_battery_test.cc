// The battery lets no mutant through and refuses no correct arithmetic.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "harness/op.h"
#include "harness/problem.h"
#include "harness/registry.h"
#include "reference/number_formats.h"
#include "reference/qgemm.h"
#include "reference/qgemm_operands.h"

namespace pareto {
namespace {

const Op& op() { return find_op("qgemm"); }

Problem problem_of(std::initializer_list<std::pair<const char*, const char*>> words) {
  Problem problem(op());
  for (const auto& [key, word] : words) problem.set(key, std::string(word));
  return problem;
}

// An output against its terms and bounds: a judge of our own, apart from the harness's.
bool accepts(const Tensor& got, const std::vector<double>& want, const Bounds& bounds, bool exact) {
  double stat_sum = 0;
  double count = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double value = value_at(got, static_cast<std::int64_t>(i));
    HostTensor rounded(got.dtype == DType::kS32 ? DType::kF64 : got.dtype, Shape{1});
    store_rounded(rounded.view(), 0, want[i]);
    const double nearest = rounded.value(0);
    if (!bounds.placement.empty() && bounds.placement[i] == Placement::kAnything) continue;
    if (!std::isfinite(nearest)) {
      if (std::isnan(nearest) != std::isnan(value)) return false;
      if (!std::isnan(nearest) && nearest != value) return false;
      continue;
    }
    const double error = std::abs(value - want[i]);
    if (exact ? value != nearest : !(error <= bounds.det[i])) return false;
    if (bounds.stat[i] == 0) continue;
    stat_sum += std::pow(error / bounds.stat[i], 2);
    ++count;
  }
  return exact || count == 0 || stat_sum / count <= 1 + 5 / std::sqrt(count);
}

struct Judged {
  const BatteryInput& input;
  Operands operands;
  Positions positions;
  ReferenceTerms terms;

  explicit Judged(const BatteryInput& battery_input)
      : input(battery_input),
        operands(op().encode(input.problem, op().draw(input.problem, input.draw))),
        positions(op().positions(input.problem, operands, 1)),
        terms(op().reference(input.problem, operands, positions, 2)) {}

  bool accept(const Outputs& outputs, const Arithmetic& arithmetic) const {
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const Bounds bounds = op().bound(input.problem, static_cast<int>(i), terms[i], arithmetic);
      if (!accepts(outputs[i].view(), terms[i].column[0], bounds, input.exact)) return false;
    }
    return true;
  }
};

Arithmetic arithmetic_for(const QgemmProblem& p) {
  Arithmetic arithmetic;
  arithmetic.integer_acc = p.integer_products();
  arithmetic.epilogue_roundings = p.integer_products() ? 3 : 0;
  return arithmetic;
}

// Operand rounding of bf16: the loosest arithmetic that a variant may declare.
Arithmetic bf16_operands(const QgemmProblem& p) {
  Arithmetic arithmetic = arithmetic_for(p);
  if (!p.integer_products()) arithmetic.u_operand = kUBf16;
  return arithmetic;
}

std::vector<std::string> survivors(const Problem& like, const Arithmetic& arithmetic) {
  std::vector<std::string> names;
  for (const Mutant& mutant : op().mutants(like)) {
    if (mutant.not_applicable.empty()) names.push_back(mutant.name);
  }
  for (const BatteryInput& input : op().battery(like)) {
    if (names.empty()) break;
    const Judged judged(input);
    std::erase_if(names, [&](const std::string& name) {
      return !judged.accept(op().mutate(name, input.problem, judged.operands), arithmetic);
    });
  }
  return names;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += name + " ";
  return text;
}

class EveryScheme : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryScheme, RejectsEveryMutant) {
  const Problem like = problem_of({{"scheme", GetParam().c_str()}});
  EXPECT_EQ(joined(survivors(like, arithmetic_for(QgemmProblem::from(like)))), "");
}

TEST_P(EveryScheme, RejectsEveryMutantWithEveryOption) {
  const Problem like = problem_of({{"scheme", GetParam().c_str()},
                                   {"bias", "present"},
                                   {"activation", "gelu"},
                                   {"dtype", "fp16"},
                                   {"out_dtype", "bf16"}});
  EXPECT_EQ(joined(survivors(like, arithmetic_for(QgemmProblem::from(like)))), "");
}

TEST_P(EveryScheme, RejectsEveryMutantBehindAFunctionWithALimit) {
  const Problem like = problem_of({{"scheme", GetParam().c_str()}, {"activation", "tanh"}});
  EXPECT_EQ(joined(survivors(like, arithmetic_for(QgemmProblem::from(like)))), "");
}

TEST_P(EveryScheme, RejectsMutantsUnderLooseArithmetic) {
  const Problem like = problem_of({{"scheme", GetParam().c_str()}, {"bias", "present"}});
  std::vector<std::string> names = survivors(like, bf16_operands(QgemmProblem::from(like)));
  // Operands rounded to 8 bits hide a sum rounded to 11.
  std::erase(names, "accumulator_16bit");
  EXPECT_EQ(joined(names), "");
}

// fp32 FMA over K in order, or int32 sums and an fp32 epilogue; as a declared arithmetic says,
// weights rounded to bf16 and sums of tensor cores that keep few bits.
class Emulation {
 public:
  Emulation(const Problem& problem, const Operands& operands, const Arithmetic& arithmetic)
      : p_(QgemmProblem::from(problem)), a_(arithmetic) {
    for (const HostTensor& operand : operands) in_.push_back(operand.view());
    outputs_.emplace_back(p_.out_dtype, Shape{p_.M, p_.N});
    if (p_.integer_operands()) outputs_.emplace_back(DType::kS32, Shape{p_.M, p_.N});
  }

  Outputs run() {
    for (std::int64_t m = 0; m < p_.M; ++m) {
      for (std::int64_t n = 0; n < p_.N; ++n) {
        float y = p_.integer_products() ? integer_dot(m, n) : float_dot(m, n);
        if (p_.has_bias) y += in_[kQgemmBias].as<float>()[n];
        store_rounded(outputs_[0].view(), m * p_.N + n, activate(p_.activation, y));
      }
    }
    return std::move(outputs_);
  }

 private:
  float float_dot(std::int64_t m, std::int64_t n) {
    std::vector<double> x(static_cast<std::size_t>(p_.K));
    std::vector<double> w(x.size());
    decode_x_row(p_, in_, m, 1, x.data());
    decode_w_row(p_, in_, n, w.data());
    if (a_.u_operand == kUBf16) {
      HostTensor rounded(DType::kBf16, Shape{p_.K});
      for (std::int64_t k = 0; k < p_.K; ++k) {
        store_rounded(rounded.view(), k, w[static_cast<std::size_t>(k)]);
        w[static_cast<std::size_t>(k)] = rounded.value(k);
      }
    }
    float sum = 0;
    if (a_.acc_truncates) return coarse_dot(x, w);
    for (std::size_t k = 0; k < x.size(); ++k) sum = static_cast<float>(sum + x[k] * w[k]);
    return sum;
  }

  float coarse_dot(const std::vector<double>& x, const std::vector<double>& w) const {
    const auto block = static_cast<std::size_t>(a_.acc_block);
    const auto promote = static_cast<std::size_t>(a_.acc_promote);
    float sum = 0;
    double acc = 0;
    for (std::size_t k = 0; k < x.size(); k += block) {
      if (promote > 0 && k % promote == 0) {
        sum += static_cast<float>(acc);
        acc = 0;
      }
      for (std::size_t i = k; i < std::min(k + block, x.size()); ++i) acc += x[i] * w[i];
      if (acc == 0) continue;
      const double unit = std::exp2(std::ilogb(acc)) * a_.u_acc;
      acc = std::trunc(acc / unit) * unit;
    }
    return sum + static_cast<float>(acc);
  }

  float integer_dot(std::int64_t m, std::int64_t n) {
    std::vector<std::int32_t> x(static_cast<std::size_t>(p_.K));
    std::vector<std::int32_t> w(x.size());
    std::vector<float> x_scales(static_cast<std::size_t>(p_.x_groups()));
    std::vector<float> w_scales(static_cast<std::size_t>(p_.w_groups()));
    std::vector<float> offsets(w_scales.size());
    std::int32_t zero = 0;
    quantize_x_row(p_, in_, m, x_tensor_scale(p_, in_), x.data(), x_scales.data(), &zero);
    integer_w_row(p_, in_, n, w.data(), w_scales.data(), offsets.data());
    float sum = 0;
    std::int32_t acc = 0;
    for (std::int64_t g = 0; g < p_.w_groups(); ++g) {
      acc = 0;
      std::int32_t x_sum = 0;
      for (std::int64_t k = g * p_.w_group; k < std::min(p_.K, (g + 1) * p_.w_group); ++k) {
        const auto i = static_cast<std::size_t>(k);
        acc += (x[i] - zero) * w[i];
        x_sum += x[i];
      }
      const auto i = static_cast<std::size_t>(g);
      sum += static_cast<float>(acc) * (x_scales[i] * w_scales[i]);
      sum -= static_cast<float>(x_sum) * (x_scales[i] * offsets[i]);
    }
    if (p_.integer_operands()) outputs_[1].view().as<std::int32_t>()[m * p_.N + n] = acc;
    return sum;
  }

  QgemmProblem p_;
  Arithmetic a_;
  std::vector<Tensor> in_;
  Outputs outputs_;
};

void expect_correct_arithmetic_passes(const Problem& like, const Arithmetic& arithmetic) {
  for (const BatteryInput& input : op().battery(like)) {
    if (input.exact && arithmetic.acc_bits < 24) continue;  // its sums are longer
    const Judged judged(input);
    EXPECT_TRUE(
        judged.accept(Emulation(input.problem, judged.operands, arithmetic).run(), arithmetic))
        << input.name;
  }
}

void expect_correct_arithmetic_passes(const Problem& like) {
  expect_correct_arithmetic_passes(like, arithmetic_for(QgemmProblem::from(like)));
}

// Codes of few magnitudes are rounded alike, which one sign of data adds up.
TEST(QgemmRounding, FourBitWeightsInSixteenBitsPass) {
  for (const char* scheme : {"w4a16_g128", "w4a16_g32", "q4_0", "nf4_g64"}) {
    const Problem like = problem_of({{"scheme", scheme}, {"dtype", "bf16"}});
    expect_correct_arithmetic_passes(like, bf16_operands(QgemmProblem::from(like)));
  }
}

// As Hopper's fp8: 13 bits, 32 products at once; with the promotion every 128 and without.
TEST(QgemmRounding, TruncatedFp8SumsPass) {
  for (const std::int64_t promote : {0, 128}) {
    Arithmetic arithmetic;
    arithmetic.u_acc = 0x1p-13;
    arithmetic.acc_truncates = true;
    arithmetic.acc_bits = 13;
    arithmetic.acc_block = 32;
    arithmetic.acc_promote = promote;
    expect_correct_arithmetic_passes(problem_of({{"scheme", "fp8_e4m3"}}), arithmetic);
  }
}

// What promotes less often than it says is caught.
TEST(QgemmRounding, MissingPromotionFails) {
  Arithmetic arithmetic;
  arithmetic.u_acc = 0x1p-13;
  arithmetic.acc_truncates = true;
  arithmetic.acc_bits = 13;
  arithmetic.acc_block = 32;
  Arithmetic declared = arithmetic;
  declared.acc_promote = 128;
  bool caught = false;
  for (const BatteryInput& input : op().battery(problem_of({{"scheme", "fp8_e4m3"}}))) {
    if (input.exact) continue;
    const Judged judged(input);
    caught |= !judged.accept(Emulation(input.problem, judged.operands, arithmetic).run(), declared);
  }
  EXPECT_TRUE(caught);
}

TEST_P(EveryScheme, AcceptsFp32Accumulation) {
  expect_correct_arithmetic_passes(problem_of({{"scheme", GetParam().c_str()}}));
}

TEST_P(EveryScheme, AcceptsFp32AccumulationWithEveryOption) {
  for (const char* activation : {"relu", "gelu", "silu", "sigmoid", "tanh"}) {
    expect_correct_arithmetic_passes(problem_of({{"scheme", GetParam().c_str()},
                                                 {"bias", "present"},
                                                 {"activation", activation},
                                                 {"dtype", "fp16"},
                                                 {"out_dtype", "fp16"}}));
  }
}

// Three battery inputs are announced as exact; every sum in them must be a short integer times a
// power of two, else a correct kernel would fail by its order of summation.
TEST_P(EveryScheme, ExactInputsAreExactInAnyOrder) {
  for (const BatteryInput& input : op().battery(problem_of({{"scheme", GetParam().c_str()}}))) {
    if (!input.exact) continue;
    const Judged judged(input);
    const QgemmProblem p = QgemmProblem::from(input.problem);
    std::vector<Tensor> in;
    for (const HostTensor& operand : judged.operands) in.push_back(operand.view());
    std::vector<double> x(static_cast<std::size_t>(p.K));
    std::vector<double> w(x.size());
    for (std::int64_t m = 0; m < p.M; ++m) {
      decode_x_row(p, in, m, x_tensor_scale(p, in), x.data());
      for (std::int64_t n = 0; n < p.N; n += 7) {
        decode_w_row(p, in, n, w.data());
        double sum = 0;
        for (std::size_t k = 0; k < x.size(); ++k) {
          ASSERT_EQ(x[k] * w[k], std::rint(x[k] * w[k]));
          sum += std::abs(x[k] * w[k]);
        }
        ASSERT_LE(sum, 0x1p24);
      }
    }
  }
}

std::vector<std::string> scheme_names() {
  std::vector<std::string> names;
  for (const QgemmScheme& scheme : qgemm_schemes()) names.emplace_back(scheme.name);
  return names;
}
INSTANTIATE_TEST_SUITE_P(Qgemm, EveryScheme, ::testing::ValuesIn(scheme_names()),
                         [](const auto& info) { return info.param; });

TEST(QgemmIntegers, MutantsAreRejectedAndExactSumsAccepted) {
  for (const char* operands : {"s8", "u8"}) {
    for (const char* zero : {"none", "present"}) {
      const Problem like =
          problem_of({{"scheme", "w8a8"}, {"operands", operands}, {"x_zero", zero}});
      EXPECT_EQ(joined(survivors(like, arithmetic_for(QgemmProblem::from(like)))), "")
          << operands << ' ' << zero;
      expect_correct_arithmetic_passes(like);
    }
  }
}

std::vector<float> row_scales(const HostTensor& x) {
  const std::int64_t columns = x.shape()[1];
  std::vector<float> scales;
  for (std::int64_t row = 0; row < x.shape()[0]; ++row) {
    float most = 0;
    for (std::int64_t k = 0; k < columns; ++k) {
      most = std::max(most, std::abs(x.span<const float>()[row * columns + k]));
    }
    scales.push_back(most / 127);
  }
  return scales;
}

// Kernels that quantize by a reciprocal, or divide by a scale of 0, must meet their match.
TEST(QgemmBattery, ScalesOfUnevenRowsReachBothEnds) {
  const Problem like = problem_of({{"scheme", "w8a8"}});
  for (const BatteryInput& input : op().battery(like)) {
    if (input.draw.distribution != "uneven") continue;
    TensorMap inputs = op().draw(input.problem, input.draw);
    for (const auto& [name, largest] : {std::pair("x", 1e28F), std::pair("w", 10.0F)}) {
      const std::vector<float> scales = row_scales(inputs.at(name));
      EXPECT_GT(*std::max_element(scales.begin(), scales.end()), largest) << name;
      EXPECT_GT(std::count(scales.begin(), scales.end(), 0.0F), 0) << name;
      EXPECT_TRUE(std::any_of(scales.begin(), scales.end(), [](float scale) {
        return scale > 0 && std::isinf(1 / scale);
      })) << name;
    }
    return;
  }
  FAIL() << "no uneven input";
}

TEST(QgemmMutants, ThoseThatCannotExistSayWhy) {
  const Problem plain = problem_of({{"scheme", "fp32"}});
  for (const Mutant& mutant : op().mutants(plain)) {
    const bool impossible =
        mutant.name == "swapped_w_scales" || mutant.name == "swapped_w_groups" ||
        mutant.name == "swapped_x_scales" || mutant.name == "missing_bias" ||
        mutant.name == "missing_zero_point" || mutant.name == "missing_activation" ||
        mutant.name == "swapped_nibbles" || mutant.name == "codes_by_reciprocal";
    EXPECT_EQ(!mutant.not_applicable.empty(), impossible) << mutant.name;
  }
}

}  // namespace
}  // namespace pareto
