// The battery lets correct kernels pass and wrong ones not.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "harness/checker.h"
#include "harness/mutant_trust.h"
#include "tests/reference/attention_emulation.h"
#include "tests/reference/attention_problems.h"

namespace pareto {
namespace {

// Every option at least once, many together.
const char* const kOptions[] = {
    "head_dim=32",
    "head_dim=32 heads_kv=1 seq_q=1",
    "head_dim=32 mask=causal heads_kv=2",
    "head_dim=32 mask=causal_top_left",
    "head_dim=32 mask=causal_top_left seq_q=4",
    "head_dim=32 mask=causal seq_q=5 dtype=bf16",
    "head_dim=24 head_dim_v=40 dtype=fp16 mask=causal window_left=20",
    "head_dim=32 window_left=9 window_right=2 dtype=bf16 out_dtype=fp32",
    "head_dim=32 window_left=0 window_right=0",
    "head_dim=32 mask=causal_top_left window_right=3 window_left=40",
    "head_dim=32 softcap=2",
    "head_dim=32 softcap=30 mask=causal dtype=bf16",
    "head_dim=32 alibi=given mask=causal",
    "head_dim=32 sinks=given",
    "head_dim=32 sinks=given bias=full allowed=full mask=causal",
    "head_dim=32 bias=shared allowed=keys dtype=bf16",
    "head_dim=32 bias=heads",
    "head_dim=32 bias=keys allowed=shared",
    "head_dim=32 dtype=fp8_e4m3 mask=causal",
    "head_dim=32 dtype=fp8_e4m3 seq_q=1 out_dtype=fp32",
    "head_dim=32 dtype=bf16 kv_dtype=int8 seq_q=1",
    "head_dim=32 kv_dtype=int8 allowed=full",
    "head_dim=32 kv_dtype=fp8_e4m3 sinks=given",
    "head_dim=48 head_dim_v=32 v=none heads_kv=1",
    "head_dim=48 head_dim_v=32 v=none heads_kv=1 kv_dtype=int8 seq_q=2",
    "head_dim=48 head_dim_v=32 v=none heads_kv=1 dtype=fp8_e4m3",
    "head_dim=32 layout=ragged mask=causal bias=full",
    "head_dim=32 layout=ragged dtype=fp8_e4m3 allowed=shared",
    "head_dim=32 layout=ragged kv_dtype=int8",
    "head_dim=32 layout=paged seq_q=1 heads_kv=2",
    "head_dim=32 layout=paged page_size=5 mask=causal kv_dtype=fp8_e4m3",
    "head_dim=32 layout=paged_ragged page_size=8 kv_dtype=int8 mask=causal seq_q=9",
    "head_dim=32 layout=paged_ragged alibi=given sinks=given dtype=bf16",
    "head_dim=1",
    "head_dim=8 scale=-0.5",
    "head_dim=8 scale=0",
    "head_dim=8 scale=1",
    "head_dim=8 head_dim_v=0",
};

class AttentionBattery : public testing::TestWithParam<const char*> {};

std::string check_of(const BatteryInput& input, const EmulatedKernel& kernel) {
  const Op& op = input.problem.op();
  const Operands operands = op.encode(input.problem, op.draw(input.problem, input.draw));
  const Expected expected = expect(input.problem, operands, input.exact, 1, 1);
  const Outputs outputs = kernel.run(input.problem, operands);
  const Verdict verdict =
      verify(expected, bounds_of(expected, kernel.arithmetic()), views_of(outputs));
  return verdict.message;
}

TEST_P(AttentionBattery, AcceptsFp32OnlineSoftmax) {
  const Problem like = attention_problem(GetParam());
  for (const BatteryInput& input : like.op().battery(like)) {
    EXPECT_EQ(check_of(input, {}), "") << input.name;
  }
}

TEST_P(AttentionBattery, AcceptsBf16Weights) {
  const Problem like = attention_problem(GetParam());
  for (const BatteryInput& input : like.op().battery(like)) {
    EXPECT_EQ(check_of(input, {.block = 48, .p_dtype = DType::kBf16}), "") << input.name;
  }
}

TEST_P(AttentionBattery, RejectsEveryMutant) {
  const Problem like = attention_problem(GetParam());
  EXPECT_EQ(mutant_trust(like, EmulatedKernel{}.arithmetic(), 1).survivors(), "");
}

TEST_P(AttentionBattery, RejectsEveryMutantUnderBf16Weights) {
  const Problem like = attention_problem(GetParam());
  EXPECT_EQ(mutant_trust(like, EmulatedKernel{.p_dtype = DType::kBf16}.arithmetic(), 1).survivors(),
            "");
}

INSTANTIATE_TEST_SUITE_P(Options, AttentionBattery, testing::ValuesIn(kOptions),
                         [](const auto& info) { return std::to_string(info.index); });

TEST(AttentionBatteryTest, RejectsABf16AccumulatorEvenWithBf16Weights) {
  const Problem like = attention_problem("dtype=bf16 head_dim=64");
  bool rejected = false;
  for (const BatteryInput& input : like.op().battery(like)) {
    rejected =
        rejected || !check_of(input, {.p_dtype = DType::kBf16, .bf16_accumulator = true}).empty();
  }
  EXPECT_TRUE(rejected);
}

// As a kernel would that sets DAZ and does not declare it.
TEST(AttentionBatteryTest, RejectsAnUndeclaredFlushOfSubnormalOperands) {
  const Problem like = attention_problem("head_dim=64");
  bool rejected = false;
  for (const BatteryInput& input : like.op().battery(like)) {
    if (input.draw.distribution != "subnormal") continue;
    const Operands operands =
        like.op().encode(input.problem, like.op().draw(input.problem, input.draw));
    const Expected expected = expect(input.problem, operands, input.exact, 1, 1);
    Operands flushed = operands;
    for (float& value : flushed[kAttentionQ].span<float>()) {
      if (std::fpclassify(value) == FP_SUBNORMAL) value = 0;
    }
    const Outputs outputs = EmulatedKernel{}.run(input.problem, flushed);
    const std::vector<Bounds> bounds = bounds_of(expected, EmulatedKernel{}.arithmetic());
    rejected = !verify(expected, bounds, views_of(outputs)).pass;
  }
  EXPECT_TRUE(rejected);
}

}  // namespace
}  // namespace pareto
