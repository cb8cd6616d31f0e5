// The decode kernels against the fp64 reference: every option, layout and type that they take, at
// sizes that meet the edges of tiles, pages, panels and pieces.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>
#include <tuple>

#include "harness/check_battery.h"
#include "harness/registry.h"
#include "kernels/attention/decode_split.h"
#include "tests/kernels/spills.h"
#include "tests/reference/attention_problems.h"

namespace pareto {
namespace {

const char* const kVariants[] = {"avx512_bf16_decode", "avx512_fp8_decode", "avx512_int8_decode",
                                 "avx512_f32_decode",  "avx2_f32_decode",   "avx2_int8_decode"};

const char* const kOptions[] = {
    "dtype=bf16 head_dim=128 heads_q=8 heads_kv=2",
    "dtype=bf16 head_dim=17 head_dim_v=9 mask=causal_top_left",
    "dtype=bf16 head_dim=80 head_dim_v=130 seq_q=1 mask=causal window_left=21",
    "dtype=bf16 softcap=3 sinks=given alibi=given mask=causal",
    "dtype=bf16 bias=heads allowed=full out_dtype=fp32",
    "dtype=bf16 bias=keys allowed=shared layout=ragged heads_kv=1",
    "dtype=bf16 layout=paged page_size=7 seq_q=1 heads_kv=2",
    "dtype=bf16 head_dim=72 head_dim_v=64 v=none heads_kv=1 seq_q=5",
    "dtype=bf16 kv_dtype=fp8_e4m3 head_dim=40 head_dim_v=24 seq_q=1",
    "dtype=fp8_e4m3 head_dim=33 head_dim_v=17 heads_kv=2 mask=causal allowed=heads",
    "dtype=fp8_e4m3 layout=paged_ragged page_size=16 v=none head_dim=64 head_dim_v=48",
    "dtype=bf16 kv_dtype=int8 head_dim=128 seq_q=1 heads_q=8 heads_kv=2",
    "dtype=fp32 kv_dtype=int8 head_dim=33 head_dim_v=21 allowed=heads mask=causal",
    "dtype=fp16 kv_dtype=int8 softcap=3 sinks=given alibi=given window_left=12",
    "dtype=fp8_e4m3 kv_dtype=int8 layout=paged page_size=5 bias=full out_dtype=fp32",
    "dtype=bf16 kv_dtype=int8 layout=ragged v=none head_dim=48 head_dim_v=40",
    "dtype=fp32 head_dim=24 head_dim_v=72 alibi=given mask=causal layout=ragged",
    "dtype=fp32 window_left=5 window_right=9 sinks=given",
    "dtype=fp32 layout=paged page_size=1 bias=shared allowed=keys out_dtype=fp16",
    "dtype=fp16 seq_q=5 heads_kv=1 mask=causal",
    "dtype=fp16 kv_dtype=bf16 layout=paged_ragged page_size=16 window_left=12",
    "dtype=fp32 head_dim=1 head_dim_v=0",
    "dtype=fp32 scale=0 seq_q=3",
    "dtype=bf16 scale=-2 softcap=500",
};

/// Why the variant cannot be tried; empty if it can.
std::string obstacle(const Variant& variant, const Problem& problem) {
  const std::string missing = missing_here(variant);
  return missing.empty() ? refusal(variant, problem) : missing;
}

class DecodeAttentionOptions : public testing::TestWithParam<std::tuple<const char*, const char*>> {
};

TEST_P(DecodeAttentionOptions, PassTheBattery) {
  const Problem like =
      attention_problem("seq_q=16 head_dim=64 " + std::string(std::get<1>(GetParam())));
  const Variant& variant = find_variant(like.op(), std::get<0>(GetParam()));
  if (const std::string reason = obstacle(variant, like); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  ThreadPool pool(1);
  CheckOptions options;
  options.mutants = false;
  options.pool_sizes = {3};
  const CheckReport report = check_variant(variant, like, pool, options);
  EXPECT_EQ(report.status, CheckStatus::kPass) << report.message;
}

INSTANTIATE_TEST_SUITE_P(Options, DecodeAttentionOptions,
                         testing::Combine(testing::ValuesIn(kVariants),
                                          testing::ValuesIn(kOptions)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)) + "_" +
                                  std::to_string(info.index % std::size(kOptions));
                         });

// Long caches, cut between threads; more rows than one unit and one tile take.
TEST(DecodeAttention, LongCachesAgreeWithTheReference) {
  for (const char* variant : kVariants) {
    for (const char* settings :
         {"dtype=bf16 seq_q=1 seq_kv=131072 head_dim=16 heads_q=4 heads_kv=1",
          "dtype=fp32 kv_dtype=int8 seq_q=1 seq_kv=131072 head_dim=16 heads_q=2 heads_kv=1",
          "dtype=bf16 kv_dtype=fp8_e4m3 seq_q=3 seq_kv=4001 head_dim=64 heads_q=4 heads_kv=2",
          "dtype=bf16 kv_dtype=int8 seq_q=7 seq_kv=3000 heads_q=14 heads_kv=1 mask=causal",
          "dtype=bf16 seq_q=9 seq_kv=1500 heads_q=20 heads_kv=2 mask=causal window_left=1000",
          "dtype=bf16 batch=3 seq_q=2 seq_kv=2000 heads_q=6 heads_kv=2 layout=ragged",
          "dtype=bf16 seq_q=2 seq_kv=600 head_dim=64 heads_q=4 heads_kv=2 scale=1e10",
          "dtype=fp32 kv_dtype=int8 seq_q=1 seq_kv=600 head_dim=64 heads_q=2 scale=1e10"}) {
      const Problem problem = attention_problem(settings);
      const Variant& found = find_variant(problem.op(), variant);
      if (!obstacle(found, problem).empty()) continue;
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

// Zeros are stored with scale 1, far above the scales of small values beside them: bytes of P·scale
// must keep their steps.
TEST(DecodeAttention, ValuesOfZeroCostOthersNothing) {
  const Problem problem =
      attention_problem("dtype=fp32 kv_dtype=int8 seq_q=1 seq_kv=96 head_dim=64 heads_q=2");
  const AttentionProblem p = AttentionProblem::from(problem);
  TensorMap inputs = problem.op().draw(problem, {.distribution = "normal", .seed = 3});
  auto* v = inputs["v"].view().as<float>();
  for (std::int64_t row = 0; row < p.heads_kv * p.seq_kv; ++row) {
    for (std::int64_t c = 0; c < p.head_dim_v; ++c) {
      v[row * p.head_dim_v + c] *= row % 7 == 3 ? 0 : 0.01F;
    }
  }
  const CheckInput zeros{"zeros", problem.op().encode(problem, inputs), {}};
  for (const char* variant : kVariants) {
    const Variant& found = find_variant(problem.op(), variant);
    if (!obstacle(found, problem).empty()) continue;
    ThreadPool pool(1);
    CheckOptions options;
    options.battery = false;
    options.mutants = false;
    options.own = {zeros};
    const CheckReport report = check_variant(found, problem, pool, options);
    EXPECT_EQ(report.status, CheckStatus::kPass) << variant << ": " << report.message;
  }
}

// Every page of every unit is walked once, and the parts of a cut unit are numbered in a row.
TEST(DecodeSplit, PiecesCoverEveryUnitOnce) {
  for (const char* settings : {"batch=1 heads_q=1 heads_kv=1 seq_q=1 seq_kv=5000",
                               "batch=3 heads_q=8 heads_kv=2 seq_q=16 seq_kv=1000",
                               "batch=2 heads_q=40 heads_kv=1 seq_q=3 seq_kv=333"}) {
    const AttentionProblem p = AttentionProblem::from(attention_problem(settings));
    for (int threads = 1; threads < 9; ++threads) {
      DecodeSplit split(p, threads, 32, 16384);
      split.plan({});
      std::map<std::int64_t, std::int64_t> walked;
      std::map<std::int64_t, std::int64_t> parts;
      std::int64_t next_part = 0;
      DecodePiece piece;
      for (int thread = 0; thread < threads; ++thread) {
        for (std::int64_t index = 0; split.piece(thread, index, piece); ++index) {
          EXPECT_EQ(piece.pages.lo, walked[piece.unit]) << settings << " " << threads;
          walked[piece.unit] = piece.pages.hi;
          if (piece.whole) continue;
          EXPECT_EQ(piece.part, next_part) << settings << " " << threads;
          ++next_part;
          ++parts[piece.unit];
        }
      }
      for (const auto& [unit, pages] : walked) EXPECT_EQ(pages, split.unit(unit, {}).pages.size());
      EXPECT_EQ(parts.size(), split.cut_units().size());
      for (const CutUnit& cut : split.cut_units()) EXPECT_EQ(parts[cut.unit], cut.parts);
    }
  }
}

constexpr std::array<const char*, 6> kHotFunctions = {"decode_score_tile<", "decode_value_tile<",
                                                      "int8_score_tile<",   "int8_value_tile<",
                                                      "word_score_tile<",   "word_value_tile<"};

TEST(DecodeRegisters, HotTilesDoNotSpill) {
  if (const std::string reason = spills_not_countable(); !reason.empty()) GTEST_SKIP() << reason;
  const std::map<std::string, int> spills = spills_of(kHotFunctions);
  // bf16, fp8, int8, and fp32 for five types; AVX2 likewise, bf16 in even widths alone, and int8.
  EXPECT_GE(spills.size(),
            (6U + 24) + (4 + 8) + (4 + 16) + 5 * (6 + 24) + 4 * (4 + 8) + (4 + 4) + (2 + 8));
  for (const auto& [name, count] : spills) EXPECT_EQ(count, 0) << name;
}

}  // namespace
}  // namespace pareto
