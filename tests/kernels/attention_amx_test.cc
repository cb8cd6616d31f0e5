// The AMX prefill kernel on the software twin of the tiles, through the same checks as every
// variant: this runs on machines without AMX.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "harness/check_battery.h"
#include "harness/isa.h"
#include "harness/registry.h"
#include "kernels/attention/amx_bf16.h"
#include "tests/reference/attention_problems.h"

namespace pareto {
namespace {

constexpr IsaSet kAvx512Bf16 = Isa::kAvx512 | Isa::kAvx512Bf16;

// A variant that is checked but never listed.
Variant twin() {
  Variant twin = find_variant(find_op("attention"), "amx_bf16");
  twin.needs = kAvx512Bf16;
  twin.prepare = prepare_attention_amx_bf16<AmxSoftware>;
  return twin;
}

class AttentionAmx : public testing::TestWithParam<const char*> {};

TEST_P(AttentionAmx, TwinPassesTheBattery) {
  if ((isa_here() & kAvx512Bf16) != kAvx512Bf16) GTEST_SKIP() << "softmax needs AVX-512 BF16";
  const Problem like = attention_problem(GetParam());
  const Variant variant = twin();
  ASSERT_EQ(refusal(variant, like), "");
  ThreadPool pool(1);
  CheckOptions options;
  options.mutants = false;
  options.pool_sizes = {3};
  const CheckReport report = check_variant(variant, like, pool, options);
  EXPECT_EQ(report.status, CheckStatus::kPass) << report.message;
}

INSTANTIATE_TEST_SUITE_P(
    Options, AttentionAmx,
    testing::Values("head_dim=64 dtype=bf16",
                    "head_dim=128 mask=causal heads_q=8 heads_kv=2 dtype=bf16",
                    "head_dim=17 head_dim_v=9 mask=causal_top_left dtype=bf16",
                    "head_dim=40 window_left=5 window_right=9 dtype=bf16 out_dtype=fp32",
                    "head_dim=32 softcap=3 sinks=given alibi=given mask=causal dtype=bf16",
                    "head_dim=32 bias=heads allowed=full mask=causal dtype=bf16",
                    "head_dim=32 dtype=fp8_e4m3 kv_dtype=int8 mask=causal",
                    "head_dim=40 head_dim_v=24 v=none dtype=fp8_e4m3 mask=causal",
                    "head_dim=32 layout=ragged mask=causal bias=full allowed=shared dtype=bf16",
                    "head_dim=32 layout=paged_ragged page_size=16 window_left=12 dtype=bf16"),
    [](const auto& info) { return std::to_string(info.index); });

TEST(AttentionAmx, DeclinesDecodeAndWiderOperandsInWords) {
  const Variant variant = twin();
  EXPECT_NE(refusal(variant, attention_problem("head_dim=64 seq_q=1 dtype=bf16")), "");
  EXPECT_NE(refusal(variant, attention_problem("head_dim=64")), "");
}

}  // namespace
}  // namespace pareto
