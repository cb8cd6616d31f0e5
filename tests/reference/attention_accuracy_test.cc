// The accuracy table of low-precision attention: inputs N(0,1) + N(0,100)·Bernoulli(0.001),
// head_dim 128, 4096 keys (experiments/attention_accuracy.toml). Every kernel's errors are held
// against those of an emulation of its declared arithmetic, on the same tensors.
#include <gtest/gtest.h>

#include <string>

#include "harness/call_buffers.h"
#include "harness/contents.h"
#include "harness/registry.h"
#include "tests/reference/attention_emulation.h"
#include "tests/reference/attention_problems.h"

namespace pareto {
namespace {

// Errors of 4096 · 128 elements hardly vary; what is left is the order of summation.
constexpr double kTolerance = 0.1;

Outputs outputs_of(const Variant& variant, const Contents& contents) {
  ThreadPool pool(1);
  CallBuffers buffers(variant, contents.problem(), contents.operands(0), Layout::kTimed);
  const auto prepared = variant.prepare(contents.problem(), buffers.persistent(), pool);
  prepared->run({buffers.in(), buffers.out(), pool});
  return buffers.copy_outputs();
}

DType p_of(const Arithmetic& arithmetic) {
  if (arithmetic.u_p == kUBf16) return DType::kBf16;
  return arithmetic.u_p == kUFp16 ? DType::kF16 : DType::kF32;
}

class AttentionAccuracy : public testing::TestWithParam<const char*> {};

// 64 of the 4096 rows of q: all of them would take the emulation minutes.
TEST_P(AttentionAccuracy, IsThatOfTheEmulation) {
  const Problem problem = attention_problem(
      std::string("heads_q=1 head_dim=128 seq_q=64 seq_kv=4096 dtype=") + GetParam());
  Contents contents(problem, {.distribution = "outlier"}, 1, 1);
  int compared = 0;
  for (const Variant* variant : variants()) {
    if (variant->op != "attention" || variant->baseline || !missing_here(*variant).empty() ||
        !refusal(*variant, problem).empty()) {
      continue;
    }
    const EmulatedKernel kernel{.block = 512, .p_dtype = p_of(arithmetic_of(*variant, problem))};
    const Outputs emulated = kernel.run(problem, contents.operands(0));
    const Outputs got = outputs_of(*variant, contents);
    const Agreement want = agreement_of(contents, views_of(emulated));
    const Agreement have = agreement_of(contents, views_of(got));
    EXPECT_NEAR(have.total.rms / want.total.rms, 1, kTolerance) << variant->name;
    EXPECT_NEAR(have.kernel.rms / want.kernel.rms, 1, kTolerance) << variant->name;
    RecordProperty(variant->name + "_total_rms", std::to_string(have.total.rms));
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

INSTANTIATE_TEST_SUITE_P(Types, AttentionAccuracy, testing::Values("fp16", "bf16", "fp8_e4m3"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace pareto
