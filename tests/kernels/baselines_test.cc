// Baselines of plug-ins against the reference. Other people's code is reported on elsewhere; what
// is tested here is ours: that operands reach the library as it wants them, and results come back.
#include <gtest/gtest.h>

#include <cctype>
#include <string>
#include <utility>
#include <vector>

#include "harness/call_buffers.h"
#include "harness/check_battery.h"
#include "harness/contents.h"
#include "harness/machine.h"
#include "harness/registry.h"
#include "reference/attention.h"
#include "tests/reference/attention_problems.h"

namespace pareto {
namespace {

constexpr double kTimeoutS = 300;

/// One baseline on one problem: the keys that differ from their defaults.
struct BaselineCase {
  std::string variant;
  std::vector<std::pair<std::string, std::string>> settings;
  std::string library_fails;  ///< check that some versions of the library fail by themselves
  IsaSet needs = 0;           ///< of the library for this problem, beyond its variant's
};

std::string name_of_case(const testing::TestParamInfo<BaselineCase>& info) {
  std::string name = info.param.variant;
  for (const auto& [key, value] : info.param.settings) {
    name.append("_").append(key).append("_").append(value);
  }
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

/// Null if nobody has heard of it.
const Variant* find_baseline(const std::string& name) {
  for (const Variant* variant : variants()) {
    if (full_name(*variant) == name) return variant;
  }
  return nullptr;
}

class Baseline : public testing::TestWithParam<BaselineCase> {};

TEST_P(Baseline, AgreesWithTheReference) {
  const BaselineCase& subject = GetParam();
  const std::string op_name = subject.variant.substr(0, subject.variant.find('/'));
  const Op& op = find_op(op_name);
  const Variant* found = find_baseline(subject.variant);
  ASSERT_NE(found, nullptr) << subject.variant;
  const std::string missing = missing_here(*found);
  if (!missing.empty()) GTEST_SKIP() << missing;
  if ((subject.needs & ~this_machine().isa) != 0) GTEST_SKIP() << "not in the library here";

  Problem problem(op);
  for (const auto& [key, value] : subject.settings) problem.set_text(key, value);
  op.complete(problem);
  ASSERT_EQ(refusal(*found, problem), "");
  CheckOptions options;
  options.mutants = false;  // the battery's own trust is tested with our variants
  // The battery's sizes are seldom multiples of anything; some libraries take nothing else.
  for (const char* distribution : {"normal", "outlier", "positive"}) {
    options.own.push_back(own_input(problem, {.distribution = distribution}));
  }
  const CheckReport report =
      check_isolated(*found, problem, this_machine().cores, options, kTimeoutS);
  EXPECT_TRUE(report.status == CheckStatus::kPass ||
              (!report.check.empty() && report.check == subject.library_fails))
      << problem.text() << "\n[" << report.check << "] " << report.message;
  std::size_t checked = 0;
  for (const InputReport& input : report.inputs) checked += input.skipped.empty() ? 1 : 0;
  EXPECT_GT(checked, options.own.size()) << "the whole battery was skipped";
}

INSTANTIATE_TEST_SUITE_P(
    OpenBlas, Baseline,
    testing::Values(
        BaselineCase{"qgemm/openblas_fp32", {{"scheme", "fp32"}}},
        BaselineCase{"qgemm/openblas_fp32",
                     {{"scheme", "fp32"}, {"bias", "present"}, {"activation", "relu"}}},
        BaselineCase{"qgemm/openblas_dequant", {{"scheme", "w8a8"}}},
        BaselineCase{"qgemm/openblas_dequant", {{"scheme", "w8a8_static"}}},
        BaselineCase{"qgemm/openblas_dequant", {{"scheme", "w4a16_g128"}, {"dtype", "fp16"}}},
        BaselineCase{"qgemm/openblas_dequant", {{"scheme", "q4_k"}}},
        BaselineCase{"qgemm/openblas_dequant", {{"scheme", "nvfp4"}}},
        BaselineCase{"qgemm/openblas_dequant", {{"scheme", "fp8_e4m3"}}},
        BaselineCase{"sparse/openblas_dense", {{"format", "csr"}}},
        BaselineCase{"sparse/openblas_dense",
                     {{"format", "2to4"}, {"dtype", "bf16"}, {"bias", "present"}}},
        BaselineCase{"sparse/openblas_dense", {{"format", "bsr16"}, {"dtype", "fp16"}}}),
    name_of_case);

INSTANTIATE_TEST_SUITE_P(
    OneDnn, Baseline,
    testing::Values(
        BaselineCase{"qgemm/onednn_fp32", {{"scheme", "fp32"}, {"bias", "present"}}},
        BaselineCase{"qgemm/onednn_fp32", {{"scheme", "fp32"}, {"activation", "gelu"}}},
        BaselineCase{"qgemm/onednn_bf16", {{"scheme", "bf16"}}},
        BaselineCase{"qgemm/onednn_bf16",
                     {{"scheme", "bf16"},
                      {"out_dtype", "bf16"},
                      {"activation", "silu"},
                      {"bias", "present"}}},
        BaselineCase{"qgemm/onednn_int8", {{"scheme", "w8a8"}}},
        BaselineCase{"qgemm/onednn_int8",
                     {{"scheme", "w8a8"}, {"bias", "present"}, {"activation", "relu"}}},
        BaselineCase{"attention/onednn_unfused", {}},
        BaselineCase{"attention/onednn_unfused",
                     {{"mask", "causal"}, {"dtype", "bf16"}},
                     "",
                     static_cast<IsaSet>(Isa::kAvx512)},
        BaselineCase{"attention/onednn_unfused",
                     {{"heads_q", "6"}, {"heads_kv", "2"}, {"seq_q", "4"}, {"seq_kv", "70"}}},
        BaselineCase{"sparse/onednn_dense_bf16", {{"format", "csr"}, {"dtype", "bf16"}}}),
    name_of_case);

INSTANTIATE_TEST_SUITE_P(
    Torch, Baseline,
    testing::Values(
        BaselineCase{"qgemm/torch_fp32", {{"scheme", "fp32"}, {"bias", "present"}}},
        BaselineCase{"qgemm/torch_fp32", {{"scheme", "fp32"}, {"activation", "relu"}}},
        BaselineCase{"qgemm/torch_bf16", {{"scheme", "bf16"}, {"out_dtype", "bf16"}}},
        BaselineCase{"qgemm/torch_bf16",
                     {{"scheme", "bf16"}, {"out_dtype", "bf16"}, {"activation", "gelu"}},
                     "nonfinite"},  // oneDNN's fused gelu makes NaN of infinity
        BaselineCase{"qgemm/torch_int8", {{"scheme", "w8a8"}}},
        BaselineCase{"qgemm/torch_int8",
                     {{"scheme", "w8a8"}, {"bias", "present"}, {"activation", "relu"}}},
        BaselineCase{"qgemm/torch_int4pack",
                     {{"scheme", "w4a16_g128"},
                      {"out_dtype", "bf16"},
                      {"M", "16"},
                      {"N", "64"},
                      {"K", "256"}}},
        BaselineCase{"qgemm/torch_int4pack",
                     {{"scheme", "w4a16_g32"},
                      {"dtype", "fp16"},
                      {"out_dtype", "fp16"},
                      {"M", "16"},
                      {"N", "64"},
                      {"K", "256"}}},
        BaselineCase{"attention/torch_sdpa", {}},
        BaselineCase{"attention/torch_sdpa", {{"mask", "causal"}}},
        BaselineCase{"attention/torch_sdpa", {{"mask", "causal_top_left"}}},
        BaselineCase{"attention/torch_sdpa",
                     {{"heads_q", "6"}, {"heads_kv", "2"}, {"seq_q", "1"}, {"seq_kv", "70"}}},
        BaselineCase{"sparse/torch_csr", {{"format", "csr"}}},
        BaselineCase{"sparse/torch_csr",
                     {{"format", "csr"}, {"bias", "present"}, {"activation", "relu"}}}),
    name_of_case);

// ggml quantizes x by a reciprocal: next to a tie ("planted") its codes are others than those of
// the quotient.
INSTANTIATE_TEST_SUITE_P(
    Ggml, Baseline,
    testing::Values(
        BaselineCase{"qgemm/ggml_q4_0",
                     {{"scheme", "q4_0_a8"}, {"M", "16"}, {"N", "64"}, {"K", "256"}},
                     "bound"},
        BaselineCase{
            "qgemm/ggml_q4_0",
            {{"scheme", "q4_0_a8"}, {"compat", "ggml"}, {"M", "3"}, {"N", "40"}, {"K", "96"}},
            "bound"},
        BaselineCase{
            "qgemm/ggml_q8_0",
            {{"scheme", "q8_0_a8"}, {"bias", "present"}, {"M", "16"}, {"N", "64"}, {"K", "256"}},
            "bound"}),
    name_of_case);

class GgmlFlashAttn : public testing::TestWithParam<const char*> {};

// ggml returns no LSE, which fails every check of all outputs: here o is compared alone.
TEST_P(GgmlFlashAttn, AgreesButForTheLse) {
  const Variant* found = find_baseline("attention/ggml_flash_attn");
  ASSERT_NE(found, nullptr);
  const std::string missing = missing_here(*found);
  if (!missing.empty()) GTEST_SKIP() << missing;
  const Variant& variant = open(*found);
  const Problem problem = attention_problem(GetParam());
  ASSERT_EQ(refusal(variant, problem), "");
  ThreadPool pool(2);
  Contents contents(problem, {.distribution = "normal"}, 1, 2);
  CallBuffers buffers(variant, problem, contents.operands(0), Layout::kTimed);
  const auto prepared = variant.prepare(problem, buffers.persistent(), pool);
  buffers.poison_outputs();
  prepared->run({buffers.in(), buffers.out(), pool});
  const Expected& expected = contents.expected(0);
  const Bounds bounds = bounds_of(expected, arithmetic_of(variant, problem)).at(kAttentionO);
  const Verdict verdict = bound_test(buffers.out()[kAttentionO], expected.positions[kAttentionO],
                                     (*expected.terms)[kAttentionO], bounds, {.name = "o"});
  EXPECT_TRUE(verdict.pass) << verdict.message;
}

INSTANTIATE_TEST_SUITE_P(
    Problems, GgmlFlashAttn,
    testing::Values("head_dim=64 seq_q=96 mask=causal",
                    "head_dim=64 seq_q=96 mask=causal dtype=fp16 heads_kv=2",
                    "head_dim=128 seq_q=1 seq_kv=300 heads_q=8 heads_kv=2 dtype=bf16",
                    "head_dim=128 seq_q=3 seq_kv=300 heads_q=8 heads_kv=2 mask=causal dtype=fp16",
                    "head_dim=64 seq_q=1 seq_kv=300 kv_dtype=fp16 sinks=given softcap=5",
                    "head_dim=64 seq_q=70 seq_kv=90 window_left=20 allowed=full batch=2"),
    [](const auto& info) { return "Problem" + std::to_string(info.index); });

}  // namespace
}  // namespace pareto
