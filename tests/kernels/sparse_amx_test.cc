// The AMX kernels of sparse layers on the software twin of the tiles, through the same checks as
// every variant: this runs on machines without AMX.
#include <gtest/gtest.h>

#include <string>

#include "harness/check_battery.h"
#include "harness/checker.h"
#include "harness/isa.h"
#include "harness/registry.h"
#include "kernels/sparse/amx_bf16.h"

namespace pareto {
namespace {

constexpr IsaSet kVectorIsa = Isa::kAvx512 | Isa::kAvx512Bf16 | Isa::kAvx512Vbmi2;

struct Kernel {
  std::string variant;
  std::string format;
};

// A variant that is checked but never listed.
Variant twin_of(const std::string& name) {
  Variant twin = find_variant(find_op("sparse"), name);
  twin.needs = kVectorIsa;
  twin.prepare = name == "amx_bf16" ? prepare_sparse_amx_bf16<AmxSoftware>
                                    : prepare_sparse_amx_dense_bf16<AmxSoftware>;
  return twin;
}

class SparseAmx : public testing::TestWithParam<Kernel> {
 protected:
  void SetUp() override {
    if ((isa_here() & kVectorIsa) != kVectorIsa) {
      GTEST_SKIP() << "expansion needs AVX-512 VBMI2, prepare AVX-512 BF16";
    }
  }
  static Problem problem(const std::string& M, const std::string& N, const std::string& K) {
    Problem p(find_op("sparse"));
    p.set_text("format", GetParam().format);
    p.set_text("dtype", "bf16");
    p.set_text("M", M);
    p.set_text("N", N);
    p.set_text("K", K);
    return p;
  }
  static void expect_pass(const Problem& problem, int threads, bool battery) {
    ThreadPool pool(threads);
    CheckOptions options;
    options.battery = battery;
    options.mutants = false;
    if (battery) options.pool_sizes = {3};
    if (!battery) options.own.push_back(own_input(problem, Draw{}));
    const CheckReport report = check_variant(twin_of(GetParam().variant), problem, pool, options);
    EXPECT_EQ(report.status, CheckStatus::kPass) << problem.text() << "\n" << report.message;
    EXPECT_LE(report.rms_ratio, 1.0) << problem.text();
  }
};

TEST_P(SparseAmx, TwinPassesTheBattery) {
  for (const char* activation : {"none", "silu"}) {
    Problem p = problem("33", "65", "129");
    p.set_text("activation", activation);
    p.op().complete(p);
    expect_pass(p, 2, true);
  }
  Problem p = problem("33", "65", "129");
  p.set_text("bias", "present");
  p.set_text("activation", "gelu");
  p.set_text("out_dtype", "bf16");
  p.op().complete(p);
  expect_pass(p, 1, true);
}

// Around every edge: of a strip of one and two tiles, of a panel, of a step of K and half of one.
TEST_P(SparseAmx, TwinPassesAtTheEdgesOfTiles) {
  for (const char* M : {"1", "2", "15", "16", "17", "31", "32", "33", "49"}) {
    for (const char* K : {"1", "15", "17", "31", "32", "33", "47", "64", "65"}) {
      for (const char* N : {"1", "16", "17", "33"}) {
        Problem p = problem(M, N, K);
        p.set("sparsity", 0.5);
        p.op().complete(p);
        expect_pass(p, 1, false);
      }
    }
  }
}

// More steps than one chunk, more strips than one block, and x larger than what stays in L2, so
// that sums leave the tiles between chunks of K.
TEST_P(SparseAmx, TwinPassesInBlocks) {
  struct Case {
    const char* M;
    const char* N;
    const char* K;
  };
  for (const Case& c : {Case{"3", "40", "2100"}, Case{"40", "70", "700"}, Case{"290", "48", "530"},
                        Case{"130", "300", "5000"}, Case{"17", "48", "17000"}}) {
    for (const double sparsity : {0.5, 0.9}) {
      Problem p = problem(c.M, c.N, c.K);
      p.set("sparsity", GetParam().format == "2to4" ? 0.5 : sparsity);
      p.op().complete(p);
      expect_pass(p, 2, false);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, SparseAmx,
                         testing::Values(Kernel{"amx_bf16", "bitmap"}, Kernel{"amx_bf16", "2to4"},
                                         Kernel{"amx_bf16", "bsr16"}, Kernel{"amx_bf16", "bsr32"},
                                         Kernel{"amx_bf16", "bsr64"}, Kernel{"amx_bf16", "bsr128"},
                                         Kernel{"amx_dense_bf16", "csr"},
                                         Kernel{"amx_dense_bf16", "skip_x"}),
                         [](const auto& info) {
                           return info.param.variant + "_" + info.param.format;
                         });

}  // namespace
}  // namespace pareto
