// The portable attention kernel takes every type, layout, mask and option, and passes every check
// of the harness on each.
#include <gtest/gtest.h>

#include <cmath>

#include "harness/check_battery.h"
#include "harness/registry.h"
#include "kernels/attention/exp_portable.h"
#include "kernels/attention/operand_rows.h"
#include "tests/reference/attention_problems.h"

namespace pareto {
namespace {

const char* const kOptions[] = {
    "head_dim=64",
    "head_dim=128 mask=causal heads_q=8 heads_kv=2 dtype=bf16",
    "head_dim=17 head_dim_v=9 mask=causal_top_left",
    "head_dim=32 mask=causal window_left=21 dtype=fp16",
    "head_dim=32 window_left=5 window_right=9 out_dtype=bf16",
    "head_dim=32 softcap=3 sinks=given alibi=given mask=causal",
    "head_dim=32 bias=full allowed=heads",
    "head_dim=32 bias=heads allowed=full mask=causal dtype=bf16",
    "head_dim=32 bias=shared allowed=keys out_dtype=fp16",
    "head_dim=32 bias=keys allowed=shared seq_q=3",
    "head_dim=32 dtype=fp8_e4m3",
    "head_dim=32 dtype=fp8_e4m3 kv_dtype=int8 mask=causal",
    "head_dim=32 dtype=bf16 kv_dtype=fp8_e4m3 seq_q=1 heads_kv=1",
    "head_dim=32 dtype=fp16 kv_dtype=bf16",
    "head_dim=32 kv_dtype=fp16",
    "head_dim=32 kv_dtype=int8 seq_q=1 heads_kv=1",
    "head_dim=72 head_dim_v=64 v=none heads_kv=1 dtype=bf16 seq_q=2",
    "head_dim=72 head_dim_v=64 v=none heads_kv=1 kv_dtype=int8",
    "head_dim=40 head_dim_v=24 v=none dtype=fp8_e4m3 mask=causal",
    "head_dim=32 layout=ragged mask=causal sinks=given",
    "head_dim=32 layout=ragged mask=causal bias=full allowed=shared kv_dtype=fp8_e4m3",
    "head_dim=32 layout=paged page_size=7 seq_q=1 heads_kv=2 dtype=bf16",
    "head_dim=32 layout=paged page_size=1 alibi=given mask=causal",
    "head_dim=32 layout=paged page_size=64 kv_dtype=int8 seq_q=4",
    "head_dim=32 layout=paged_ragged page_size=16 window_left=12 mask=causal",
    "head_dim=32 layout=paged_ragged page_size=16 v=none kv_dtype=fp8_e4m3 seq_q=12",
    "head_dim=1 head_dim_v=0",
    "head_dim=8 scale=0",
    "head_dim=8 scale=-2 softcap=500",
};

class ScalarAttention : public testing::TestWithParam<const char*> {};

TEST_P(ScalarAttention, PassesTheBattery) {
  const Problem like = attention_problem(GetParam());
  const Variant& variant = find_variant(like.op(), "scalar");
  EXPECT_EQ(refusal(variant, like), "");
  ThreadPool pool(1);
  CheckOptions options;
  options.mutants = false;  // tests/reference/attention_battery_test.cc
  const CheckReport report = check_variant(variant, like, pool, options);
  EXPECT_EQ(report.status, CheckStatus::kPass) << report.message;
  for (const InputReport& input : report.inputs) EXPECT_EQ(input.skipped, "") << input.input;
}

INSTANTIATE_TEST_SUITE_P(Options, ScalarAttention, testing::ValuesIn(kOptions),
                         [](const auto& info) { return std::to_string(info.index); });

TEST(ExpPortable, KeepsItsPromises) {
  EXPECT_EQ(exp_portable(0.0F), 1.0F);
  EXPECT_EQ(exp_portable(-INFINITY), 0.0F);
  EXPECT_EQ(exp_portable(-88.0F), 0.0F);
  EXPECT_TRUE(std::isnan(exp_portable(NAN)));
  double worst = 0;
  for (float x = -87.3F; x <= 0; x += 0.0007F) {
    const double want = std::exp(static_cast<double>(x));
    worst = std::max(worst, std::abs(exp_portable(x) - want) / want);
  }
  EXPECT_LT(worst, 0x1p-22);
}

TEST(OperandRows, DecodesEveryCode) {
  for (const DType dtype : {DType::kBf16, DType::kF16, DType::kE4m3, DType::kS8}) {
    const std::int64_t codes = size_of(dtype) == 1 ? 256 : 65536;
    HostTensor tensor(dtype, {codes});
    for (std::int64_t i = 0; i < codes; ++i) {
      if (size_of(dtype) == 1) {
        tensor.span<std::uint8_t>()[i] = static_cast<std::uint8_t>(i);
      } else {
        tensor.span<std::uint16_t>()[i] = static_cast<std::uint16_t>(i);
      }
    }
    std::vector<float> values(codes);
    decode_elements(tensor.view(), 0, codes, 1.0F, values.data());
    for (std::int64_t i = 0; i < codes; ++i) {
      const double want = tensor.value(i);
      const bool same = std::isnan(want) ? std::isnan(values[i]) : values[i] == want;
      EXPECT_TRUE(same) << name_of(dtype) << " code " << i;
    }
  }
}

}  // namespace
}  // namespace pareto
