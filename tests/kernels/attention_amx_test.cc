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

// Tasks of several pairs of tiles, the last pair or tile not whole, over several blocks of keys:
// scores, weights and P·V of different pairs are under way at once, in two places for scores. Masks
// leave tiles, or whole pairs, without keys in some blocks; non-finite v beside that is multiplied
// out of turn.
TEST(AttentionAmxPipeline, KeepsTheRowsOfATaskApart) {
  if ((isa_here() & kAvx512Bf16) != kAvx512Bf16) GTEST_SKIP() << "softmax needs AVX-512 BF16";
  struct Case {
    const char* settings;
    const char* distribution;
  };
  for (const Case& c : {
           Case{"seq_q=300 seq_kv=1100 head_dim=40 head_dim_v=72 heads_q=2 mask=causal", "planted"},
           Case{"seq_q=129 seq_kv=1030 head_dim=64 heads_q=1", "planted"},
           Case{"seq_q=200 seq_kv=1300 head_dim=32 window_left=90 window_right=30", "planted"},
           Case{"seq_q=1100 seq_kv=1100 head_dim=16 heads_q=1 mask=causal_top_left", "planted"},
           Case{"seq_q=65 seq_kv=600 head_dim=33 heads_q=6 heads_kv=2 allowed=full", "normal"},
           Case{"seq_q=97 seq_kv=700 head_dim=32 layout=ragged batch=3 mask=causal", "planted"},
           Case{"seq_q=190 seq_kv=1200 head_dim=32 mask=causal window_left=200", "unseen"},
           Case{"seq_q=260 seq_kv=580 head_dim=32 heads_q=1 allowed=full", "nonfinite"},
           Case{"seq_q=150 seq_kv=520 head_dim=24 kv_dtype=int8 alibi=given softcap=2", "normal"},
       }) {
    const Problem problem =
        attention_problem(std::string("batch=1 heads_q=2 heads_kv=1 dtype=bf16 ") + c.settings);
    const Variant variant = twin();
    ASSERT_EQ(refusal(variant, problem), "") << c.settings;
    ThreadPool pool(1);
    CheckOptions options;
    options.battery = false;
    options.mutants = false;
    options.own = {own_input(problem, {.distribution = c.distribution, .seed = 3})};
    const CheckReport report = check_variant(variant, problem, pool, options);
    EXPECT_EQ(report.status, CheckStatus::kPass) << c.settings << "\n" << report.message;
  }
}

TEST(AttentionAmx, DeclinesDecodeAndWiderOperandsInWords) {
  const Variant variant = twin();
  EXPECT_NE(refusal(variant, attention_problem("head_dim=64 seq_q=1 dtype=bf16")), "");
  EXPECT_NE(refusal(variant, attention_problem("head_dim=64")), "");
}

}  // namespace
}  // namespace pareto
