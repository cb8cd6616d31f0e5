// What cuDNN's support matrix says of our graphs for a Hopper device: asked of the library, without
// a device.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#ifdef PARETO_WITH_CUDNN

#include "harness/cuda_library.h"
#include "kernels/attention/cudnn_graph.h"
#include "tests/reference/attention_problems.h"

namespace pareto {
namespace {

std::string refusal(const std::string& settings) {
  return cudnn_attention_refusal(AttentionProblem::from(attention_problem(
                                     "batch=2 heads_q=8 seq_q=64 seq_kv=128 " + settings)),
                                 90);
}

class CudnnGraph : public testing::Test {
 protected:
  void SetUp() override {
    const std::string missing = missing_cuda_library_of("attention/cudnn_sdpa");
    if (!missing.empty()) GTEST_SKIP() << missing;
  }
};

TEST_F(CudnnGraph, TakesBothTypesMasksAndGroupedHeads) {
  for (const std::string dtype : {"bf16", "fp16"}) {
    for (const std::string mask : {"none", "causal", "causal_top_left"}) {
      for (const std::string heads : {"8", "2", "1"}) {
        EXPECT_EQ(refusal("head_dim=128 dtype=" + dtype + " mask=" + mask + " heads_kv=" + heads),
                  "")
            << dtype << " " << mask << " " << heads;
      }
    }
  }
}

// What the variant declines, the library refuses too, and for that reason: else it would be
// declined for nothing.
TEST_F(CudnnGraph, RefusesWhatTheVariantDeclines) {
  EXPECT_THAT(refusal("head_dim=100 dtype=bf16 heads_kv=8"), testing::HasSubstr("hidden_dim"));
  EXPECT_THAT(refusal("head_dim=64 dtype=bf16 heads_kv=8 mask=causal seq_q=129"),
              testing::HasSubstr("max_s_q"));
}

}  // namespace
}  // namespace pareto

#endif
