// Tensors of files become problems, or are refused by name; operands are coded as documented.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "harness/errors.h"
#include "reference/attention.h"
#include "tests/reference/attention_problems.h"

namespace pareto {
namespace {

using testing::HasSubstr;

TensorMap drawn(const std::string& settings) {
  const Problem problem = attention_problem(settings);
  return problem.op().draw(problem, {});
}

Problem adopted(TensorMap& inputs) {
  Problem problem(find_op("attention"));
  problem.op().adopt(problem, inputs);
  problem.op().complete(problem);
  return problem;
}

std::string refusal_of(TensorMap inputs, const std::string& settings = "") {
  try {
    evaluate(std::move(inputs), settings);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

class AttentionRoundTrip : public testing::TestWithParam<const char*> {};

TEST_P(AttentionRoundTrip, SizesComeBackFromTheTensors) {
  const Problem problem = attention_problem(GetParam());
  TensorMap inputs = problem.op().draw(problem, {});
  Problem found = adopted(inputs);
  if (problem.word("layout") == "dense") found.set("page_size", problem.size("page_size"));
  EXPECT_EQ(found.text(), problem.text());
}

INSTANTIATE_TEST_SUITE_P(
    Layouts, AttentionRoundTrip,
    testing::Values("batch=2 heads_q=4 heads_kv=2 seq_q=5 seq_kv=7 head_dim=6 head_dim_v=3",
                    "batch=2 heads_q=4 seq_q=5 bias=full allowed=heads alibi=given sinks=given",
                    "batch=2 heads_q=4 seq_q=5 bias=shared allowed=keys",
                    "batch=5 heads_q=4 seq_q=5 seq_kv=9 layout=ragged",
                    "batch=5 heads_q=4 seq_q=1 seq_kv=40 layout=paged page_size=8",
                    "batch=5 heads_q=4 seq_q=6 seq_kv=40 layout=paged_ragged page_size=1"),
    [](const auto& info) { return std::to_string(info.index); });

TEST(AttentionAdopt, TakesTheWidthOfASharedLatentFromTheUser) {
  TensorMap inputs = drawn("heads_kv=1 seq_q=2 head_dim=8 head_dim_v=6 v=none");
  Problem problem(find_op("attention"));
  problem.set("head_dim_v", std::int64_t{6});
  problem.op().adopt(problem, inputs);
  problem.op().complete(problem);
  EXPECT_EQ(problem.size("head_dim_v"), 6);
  EXPECT_EQ(problem.word("v"), "none");
}

TEST(AttentionAdopt, ConvertsIntegersOfOtherWidths) {
  TensorMap inputs = drawn("batch=3 seq_q=2 seq_kv=4 layout=ragged");
  inputs["allowed"] = ints({1, 4}, {0, 1, -1, 256});
  const Problem problem = adopted(inputs);
  EXPECT_EQ(inputs.at("allowed").dtype(), DType::kU8);
  EXPECT_EQ(inputs.at("allowed").value(3), 1);
  EXPECT_EQ(problem.word("allowed"), "keys");
}

TEST(AttentionAdopt, NamesWhatIsWrong) {
  TensorMap dense = drawn("batch=2 heads_q=4 heads_kv=2 seq_q=3 seq_kv=5 head_dim=4");
  const auto with = [&](const char* name, HostTensor tensor) {
    TensorMap inputs = dense;
    inputs[name] = std::move(tensor);
    return inputs;
  };
  TensorMap without = dense;
  without.erase("k");
  EXPECT_THAT(refusal_of(without), HasSubstr("dataset k is missing"));
  EXPECT_THAT(refusal_of(with("q", HostTensor(DType::kF32, {4, 3, 4}))), HasSubstr("q has shape"));
  EXPECT_THAT(refusal_of(with("q", HostTensor(DType::kS8, {2, 4, 3, 4}))),
              HasSubstr("q has dtype"));
  EXPECT_THAT(refusal_of(with("k", HostTensor(DType::kF32, {2, 2, 5, 3}))),
              HasSubstr("head_dim of k = 3"));
  EXPECT_THAT(refusal_of(with("k", HostTensor(DType::kF32, {1, 2, 5, 4}))),
              HasSubstr("batch of k = 1"));
  EXPECT_THAT(refusal_of(with("v", HostTensor(DType::kF32, {2, 2, 4, 4}))),
              HasSubstr("v has shape"));
  EXPECT_THAT(refusal_of(with("bias", HostTensor(DType::kF32, {2, 5}))),
              HasSubstr("bias has shape [2, 5]"));
  EXPECT_THAT(refusal_of(with("sinks", HostTensor(DType::kF32, {3}))),
              HasSubstr("length of sinks = 3 must equal heads_q = 4"));
  EXPECT_THAT(refusal_of(with("allowed", HostTensor(DType::kF32, {5}))),
              HasSubstr("allowed has dtype"));
  TensorMap odd = with("k", HostTensor(DType::kF32, {2, 3, 5, 4}));
  odd["v"] = odd["k"];
  EXPECT_THAT(refusal_of(odd), HasSubstr("heads_q = 4 must be a multiple of heads_kv = 3"));
  EXPECT_THAT(refusal_of(dense, "seq_q=4"), HasSubstr("seq_q = 4"));
  EXPECT_THAT(refusal_of(dense, "layout=paged"), HasSubstr("layout = paged"));
}

TEST(AttentionAdopt, RefusesTablesThatPointOutside) {
  TensorMap ragged = drawn("batch=2 seq_q=3 seq_kv=4 layout=ragged");
  ragged["cu_seqlens_q"] = ints({3}, {0, 3, 2});
  EXPECT_THAT(refusal_of(ragged), HasSubstr("cu_seqlens_q[2] = 2"));
  ragged["cu_seqlens_q"] = ints({3}, {0, 3, 99});
  EXPECT_THAT(refusal_of(ragged), HasSubstr("cu_seqlens_q[2] = 99"));
  ragged["cu_seqlens_q"] = ints({3}, {1, 3, 4});
  EXPECT_THAT(refusal_of(ragged), HasSubstr("cu_seqlens_q[0] = 1"));
  ragged["cu_seqlens_q"] = ints({2}, {0, 3});
  EXPECT_THAT(refusal_of(ragged), HasSubstr("sequences of cu_seqlens_kv = 2"));
  TensorMap paged = drawn("batch=2 seq_q=1 seq_kv=8 layout=paged page_size=4");
  paged["block_table"] = ints({2, 2}, {0, 1, 2, 77});
  paged["seqlens_kv"] = ints({2}, {8, 4});
  EXPECT_EQ(refusal_of(paged), "");  // entry 77 lies past the last page
  paged["seqlens_kv"] = ints({2}, {8, 5});
  EXPECT_THAT(refusal_of(paged), HasSubstr("block_table[1, 1] = 77"));
  paged["seqlens_kv"] = ints({2}, {8, 9});
  EXPECT_THAT(refusal_of(paged), HasSubstr("seqlens_kv[1] = 9 must lie in 0…8"));
}

TEST(AttentionAdopt, QuantizingTypesRefuseNonFiniteOperandsThatAreSeen) {
  TensorMap inputs = drawn("heads_q=1 seq_q=2 seq_kv=3 head_dim=4");
  inputs.at("k").span<float>()[2 * 4 + 1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(refusal_of(inputs, "kv_dtype=int8"), HasSubstr("k: row 2 column 1"));
  EXPECT_THAT(refusal_of(inputs, "dtype=fp8_e4m3"), HasSubstr("k: row 2 column 1"));
  EXPECT_EQ(refusal_of(inputs, "dtype=bf16"), "");
  EXPECT_EQ(refusal_of(inputs, "kv_dtype=int8 mask=causal_top_left"), "");
  inputs.at("q").span<float>()[0] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(refusal_of(inputs, "dtype=fp8_e4m3 mask=causal_top_left"), HasSubstr("q: row 0"));
}

TEST(AttentionAdopt, RefusesAWiderValueThanTheLatent) {
  EXPECT_THROW(attention_problem("v=none head_dim=4 head_dim_v=5"), InputError);
}

TEST(AttentionAdopt, NegativeSizesAreRefused) {
  Problem problem(find_op("attention"));
  EXPECT_THROW(problem.set_text("seq_q", "-1"), InputError);
  EXPECT_THROW(problem.set_text("head_dim", "0"), InputError);
  EXPECT_THROW(problem.set_text("window_left", "-2"), InputError);
}

TEST(AttentionNarrow, TakesTheFirstQueriesAndKeys) {
  TensorMap inputs = drawn("batch=2 heads_q=2 seq_q=5 seq_kv=7 head_dim=3 bias=full allowed=keys");
  const TensorMap whole = inputs;
  Problem problem(find_op("attention"));
  problem.set("batch", std::int64_t{1})
      .set("seq_q", std::int64_t{2})
      .set("seq_kv", std::int64_t{4});
  problem.op().narrow(problem, inputs);
  problem.op().adopt(problem, inputs);
  EXPECT_EQ(inputs.at("q").shape(), (Shape{1, 2, 2, 3}));
  EXPECT_EQ(inputs.at("v").shape(), (Shape{1, 2, 4, 3}));
  EXPECT_EQ(inputs.at("bias").shape(), (Shape{1, 2, 2, 4}));
  EXPECT_EQ(inputs.at("allowed").shape(), (Shape{1, 1, 1, 4}));
  // Head 1, key 3, column 2.
  EXPECT_EQ(inputs.at("k").value((1 * 4 + 3) * 3 + 2), whole.at("k").value((1 * 7 + 3) * 3 + 2));
  EXPECT_EQ(inputs.at("bias").value((1 * 2 + 1) * 4 + 3),
            whole.at("bias").value((1 * 5 + 1) * 7 + 3));
}

TEST(AttentionVary, ChangesQueriesAndInPrefillKeys) {
  for (const char* settings :
       {"heads_q=2 seq_q=3", "heads_q=2 seq_q=20", "batch=3 seq_q=20 layout=ragged"}) {
    const Problem problem = attention_problem(settings);
    const TensorMap before = problem.op().draw(problem, {});
    TensorMap after = before;
    problem.op().vary(problem, after, 1);
    const auto same = [&](const char* name) {
      const auto a = before.at(name).span<float>();
      return std::equal(a.begin(), a.end(), after.at(name).span<float>().begin());
    };
    EXPECT_FALSE(same("q")) << settings;
    EXPECT_EQ(same("k"), std::string(settings) != "heads_q=2 seq_q=20") << settings;
  }
}

TEST(AttentionEncode, ScalesFp8PerHeadOverSeenKeysAlone) {
  // causal_top_left: query 0 sees key 0 alone; key 1 is stored as 0.
  TensorMap inputs;
  inputs["q"] = floats({1, 2, 1, 1}, {896, -224});
  inputs["k"] = floats({1, 1, 2, 1}, {112, 9999});
  inputs["v"] = floats({1, 1, 2, 1}, {-0.5F, 9999});
  Problem problem(find_op("attention"));
  problem.set_text("dtype", "fp8_e4m3").set_text("mask", "causal_top_left");
  problem.op().adopt(problem, inputs);
  problem.op().complete(problem);
  const Operands operands = problem.op().encode(problem, inputs);
  EXPECT_EQ(operands[kAttentionQ].value(0), 448);
  EXPECT_EQ(operands[kAttentionQ].value(1), -448);
  EXPECT_EQ(operands[kAttentionQScale].value(0), 2);
  EXPECT_EQ(operands[kAttentionQScale].value(1), 0.5);
  EXPECT_EQ(operands[kAttentionK].value(0), 448);
  EXPECT_EQ(operands[kAttentionK].value(1), 0);
  EXPECT_EQ(operands[kAttentionKScale].value(0), 0.25);
  EXPECT_EQ(operands[kAttentionVScale].value(0), static_cast<float>(0.5 / 448));
  EXPECT_EQ(operands[kAttentionV].value(0), -448);
}

TEST(AttentionEncode, ScalesInt8PerToken) {
  TensorMap inputs;
  inputs["q"] = floats({1, 1, 1, 2}, {1, 1});
  inputs["k"] = floats({1, 1, 3, 2}, {127, -3, 0, 0, 1, 2});
  inputs["v"] = floats({1, 1, 3, 1}, {254, -1, 0});
  Problem problem(find_op("attention"));
  problem.set_text("kv_dtype", "int8");
  problem.op().adopt(problem, inputs);
  problem.op().complete(problem);
  const Operands operands = problem.op().encode(problem, inputs);
  EXPECT_EQ(operands[kAttentionK].dtype(), DType::kS8);
  EXPECT_EQ(operands[kAttentionK].value(1), -3);
  EXPECT_EQ(operands[kAttentionKScale].value(0), 1);
  EXPECT_EQ(operands[kAttentionKScale].value(1), 1);
  EXPECT_EQ(operands[kAttentionKScale].value(2), static_cast<float>(2.0 / 127));
  EXPECT_EQ(operands[kAttentionK].value(4), 64);  // rint(63.5…), of 1 / fp32(2/127)
  EXPECT_EQ(operands[kAttentionVScale].value(0), 2);
  EXPECT_EQ(operands[kAttentionV].value(1), -127);
}

TEST(AttentionEncode, PagedFp8SharesAScalePerHead) {
  TensorMap inputs;
  inputs["q"] = floats({2, 1, 1, 1}, {1, 1});
  inputs["k"] = floats({3, 1, 1, 1}, {448, 1e9F, 896});  // page 1 belongs to nobody
  inputs["v"] = inputs["k"];
  inputs["block_table"] = ints({2, 1}, {0, 2});
  inputs["seqlens_kv"] = ints({2}, {1, 1});
  Problem problem(find_op("attention"));
  problem.set_text("dtype", "fp8_e4m3");
  problem.op().adopt(problem, inputs);
  problem.op().complete(problem);
  const Operands operands = problem.op().encode(problem, inputs);
  EXPECT_EQ(operands[kAttentionKScale].shape(), (Shape{1}));
  EXPECT_EQ(operands[kAttentionKScale].value(0), 2);
  EXPECT_EQ(operands[kAttentionK].value(0), 224);
  EXPECT_EQ(operands[kAttentionK].value(1), 0);
}

}  // namespace
}  // namespace pareto
