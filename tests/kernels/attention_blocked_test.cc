// The blocked attention kernels against the fp64 reference: every option, layout and type that they
// take, at sizes that meet the edges of tiles, panels, blocks and parts.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <tuple>

#include "harness/aligned_buffer.h"
#include "harness/check_battery.h"
#include "harness/registry.h"
#include "tests/reference/attention_problems.h"

namespace pareto {
namespace {

const char* const kVariants[] = {"avx512_f32", "avx512_bf16", "avx2_f32"};

const char* const kOptions[] = {
    "head_dim=64",
    "head_dim=64 mask=causal heads_q=4 heads_kv=2",
    "head_dim=128 mask=causal heads_q=8 heads_kv=2 dtype=bf16",
    "head_dim=17 head_dim_v=9 mask=causal_top_left dtype=bf16",
    "head_dim=32 mask=causal window_left=21 dtype=fp16",
    "head_dim=32 window_left=5 window_right=9 dtype=bf16 out_dtype=fp32",
    "head_dim=32 softcap=3 sinks=given alibi=given mask=causal",
    "head_dim=32 softcap=3 sinks=given alibi=given mask=causal dtype=bf16",
    "head_dim=32 bias=full allowed=heads",
    "head_dim=32 bias=heads allowed=full mask=causal dtype=bf16",
    "head_dim=32 bias=shared allowed=keys out_dtype=fp16",
    "head_dim=32 bias=keys allowed=shared seq_q=3 dtype=bf16",
    "head_dim=80 head_dim_v=130 seq_q=1 heads_q=8 heads_kv=2 dtype=bf16",
    "head_dim=64 seq_q=1 heads_kv=1",
    "head_dim=64 seq_q=5 mask=causal heads_kv=1 dtype=fp16",
    "head_dim=32 dtype=fp8_e4m3",
    "head_dim=32 dtype=fp8_e4m3 kv_dtype=int8 mask=causal",
    "head_dim=32 dtype=bf16 kv_dtype=fp8_e4m3 seq_q=1 heads_kv=1",
    "head_dim=33 dtype=bf16 kv_dtype=int8 seq_q=2 heads_kv=1 allowed=heads",
    "head_dim=32 dtype=fp16 kv_dtype=bf16",
    "head_dim=32 kv_dtype=fp16",
    "head_dim=32 kv_dtype=int8 seq_q=1 heads_kv=1",
    "head_dim=72 head_dim_v=64 v=none heads_kv=1 dtype=bf16 seq_q=2",
    "head_dim=72 head_dim_v=64 v=none heads_kv=1 kv_dtype=int8",
    "head_dim=40 head_dim_v=24 v=none dtype=fp8_e4m3 mask=causal",
    "head_dim=32 layout=ragged mask=causal sinks=given",
    "head_dim=32 layout=ragged mask=causal bias=full allowed=shared dtype=bf16",
    "head_dim=32 layout=ragged seq_q=3 mask=causal dtype=bf16",
    "head_dim=32 layout=paged page_size=7 seq_q=1 heads_kv=2 dtype=bf16",
    "head_dim=32 layout=paged page_size=1 alibi=given mask=causal",
    "head_dim=32 layout=paged page_size=64 kv_dtype=int8 seq_q=4",
    "head_dim=32 layout=paged_ragged page_size=16 window_left=12 mask=causal",
    "head_dim=32 layout=paged_ragged page_size=16 v=none kv_dtype=fp8_e4m3 seq_q=12",
    "head_dim=1 head_dim_v=0",
    "head_dim=8 scale=0",
    "head_dim=8 scale=-2 softcap=500 dtype=bf16",
};

class BlockedAttention : public testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(BlockedAttention, PassesTheBattery) {
  const Problem like = attention_problem(std::get<1>(GetParam()));
  const Variant& variant = find_variant(like.op(), std::get<0>(GetParam()));
  const std::string missing = missing_here(variant);
  if (!missing.empty()) GTEST_SKIP() << missing;
  const std::string reason = refusal(variant, like);
  if (!reason.empty()) GTEST_SKIP() << reason;
  ThreadPool pool(1);
  CheckOptions options;
  options.mutants = false;
  options.pool_sizes = {3};
  const CheckReport report = check_variant(variant, like, pool, options);
  EXPECT_EQ(report.status, CheckStatus::kPass) << report.message;
}

INSTANTIATE_TEST_SUITE_P(Options, BlockedAttention,
                         testing::Combine(testing::ValuesIn(kVariants),
                                          testing::ValuesIn(kOptions)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" +
                                  std::to_string(info.index % std::size(kOptions));
                         });

// Several blocks of 512 keys; more threads than KV heads split the keys of a decode. Logits may be
// so large that fp32 rounds them to multiples of hundreds.
TEST(BlockedAttentionLong, AgreesWithTheReference) {
  for (const char* variant : kVariants) {
    for (const char* settings :
         {"seq_q=130 seq_kv=2301 head_dim=64 heads_q=2 heads_kv=1 mask=causal",
          "seq_q=200 seq_kv=2100 head_dim=40 heads_q=2 window_left=700 dtype=bf16",
          "seq_q=20 seq_kv=131072 head_dim=8 heads_q=1 heads_kv=1 mask=causal dtype=bf16",
          "seq_q=1 seq_kv=4001 head_dim=64 heads_q=4 heads_kv=1 dtype=bf16",
          "seq_q=7 seq_kv=3000 head_dim=32 heads_q=4 heads_kv=2 mask=causal",
          "seq_q=30 seq_kv=1300 head_dim=32 heads_q=2 mask=causal scale=1e10"}) {
      const Problem problem = attention_problem(settings);
      const Variant& found = find_variant(problem.op(), variant);
      if (!missing_here(found).empty() || !refusal(found, problem).empty()) continue;
      ThreadPool pool(5);
      CheckOptions options;
      options.battery = false;
      options.mutants = false;
      options.own = {own_input(problem, {.distribution = "planted", .seed = 3})};
      const CheckReport report = check_variant(found, problem, pool, options);
      EXPECT_EQ(report.status, CheckStatus::kPass) << report.message;
    }
  }
}

// All keys in one pass, of one panel or several: caches of up to 4 keys lie differently, rows fill
// several tiles and rounds of 48, tasks share a round, many rounds of them fill up. One key more
// than 64 is the other path. A scale may be too small for fp32, or logits as large as above.
TEST(BlockedAttentionShort, AgreesWithTheReference) {
  for (const char* variant : kVariants) {
    for (const char* settings :
         {"seq_q=1 seq_kv=1 head_dim=64 heads_q=16 heads_kv=8",
          "seq_q=2 seq_kv=2 head_dim=33 heads_q=16 heads_kv=8 mask=causal",
          "seq_q=3 seq_kv=3 head_dim=128 heads_q=6 heads_kv=2 batch=3 softcap=3",
          "seq_q=4 seq_kv=4 head_dim=64 heads_q=64 heads_kv=2 mask=causal sinks=given",
          "seq_q=1 seq_kv=8 head_dim=16 heads_q=32 heads_kv=32 batch=9",
          "seq_q=1 seq_kv=2 head_dim=8 layout=ragged batch=200 heads_q=2 heads_kv=2",
          "seq_q=2 seq_kv=10 head_dim=16 heads_q=4 heads_kv=2 scale=1e-50",
          "seq_q=2 seq_kv=10 head_dim=16 heads_q=4 heads_kv=2 scale=1e10",
          "seq_q=4 seq_kv=4 head_dim=24 layout=ragged batch=5 heads_q=8 heads_kv=4 mask=causal",
          "seq_q=4 seq_kv=3 head_dim=40 layout=paged page_size=2 batch=3 alibi=given mask=causal",
          "seq_q=2 seq_kv=2 head_dim=576 head_dim_v=512 v=none heads_q=16 heads_kv=1 dtype=bf16",
          "seq_q=2 seq_kv=4 head_dim=64 heads_q=4 heads_kv=2 dtype=fp8_e4m3",
          "seq_q=2 seq_kv=17 head_dim=64 heads_q=8 heads_kv=2 mask=causal sinks=given",
          "seq_q=40 seq_kv=40 head_dim=128 heads_q=4 heads_kv=2 mask=causal_top_left",
          "seq_q=60 seq_kv=60 head_dim=64 layout=paged page_size=16 batch=3 dtype=bf16",
          "seq_q=33 seq_kv=57 head_dim=40 layout=ragged batch=4 mask=causal dtype=fp16",
          "seq_q=20 seq_kv=25 head_dim=64 heads_q=4 dtype=fp8_e4m3 mask=causal window_left=9",
          "seq_q=16 seq_kv=5 head_dim=64 heads_q=8 heads_kv=1 mask=causal",
          "seq_q=9 seq_kv=64 head_dim=40 head_dim_v=80 heads_q=6 window_left=7 mask=causal",
          "seq_q=49 seq_kv=64 head_dim=576 head_dim_v=512 v=none heads_q=2 heads_kv=1 mask=causal",
          "seq_q=50 seq_kv=33 head_dim=64 heads_q=4 heads_kv=1 allowed=heads dtype=bf16",
          "seq_q=97 seq_kv=48 head_dim=64 heads_q=4 heads_kv=2 out_dtype=bf16 bias=keys",
          "seq_q=200 seq_kv=64 head_dim=64 heads_q=8 heads_kv=2 batch=3 mask=causal",
          "seq_q=70 seq_kv=65 head_dim=64 heads_q=2 mask=causal"}) {
      const Problem problem = attention_problem(settings);
      const Variant& found = find_variant(problem.op(), variant);
      if (!missing_here(found).empty() || !refusal(found, problem).empty()) continue;
      for (const int threads : {1, 3}) {
        ThreadPool pool(threads);
        CheckOptions options;
        options.battery = false;
        options.mutants = false;
        options.own = {own_input(problem, {.distribution = "normal", .seed = 5})};
        const CheckReport report = check_variant(found, problem, pool, options);
        EXPECT_EQ(report.status, CheckStatus::kPass)
            << variant << " " << settings << ": " << report.message;
      }
    }
  }
}

// K and V are packed a block at a time: what a prefill holds beyond its operands does not grow with
// the sequence or the heads.
TEST(BlockedAttentionMemory, IsAFewMegabytesPerThread) {
  constexpr int kThreads = 2;
  constexpr std::size_t kMostBytesPerThread = 8 << 20;
  for (const char* variant : kVariants) {
    const Problem problem = attention_problem(
        "heads_q=32 heads_kv=32 seq_q=131072 seq_kv=131072 head_dim=128 mask=causal dtype=bf16");
    const Variant& found = find_variant(problem.op(), variant);
    if (!missing_here(found).empty()) continue;
    ThreadPool pool(kThreads);
    const std::size_t before = counted_bytes();
    const std::unique_ptr<Prepared> prepared = found.prepare(problem, {}, pool);
    EXPECT_LE(counted_bytes() - before, kThreads * kMostBytesPerThread) << variant;
  }
}

}  // namespace
}  // namespace pareto
