// The bound's terms for operands split into pieces of bf16: what is left out of the product, and
// what flushing costs the last pieces of small operands, stays within them; leaving out one product
// more does not.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "harness/registry.h"
#include "kernels/qgemm/piece_products.h"
#include "reference/number_formats.h"
#include "reference/qgemm.h"
#include "reference/qgemm_parts.h"

namespace pareto {
namespace {

double flushed(double value) { return std::abs(value) < 0x1p-126 ? 0 : value; }

/// Piece `at` of a value, as AMX sees it.
double piece(double value, int at) {
  double rounded = 0;
  for (int i = 0; i <= at; ++i) {
    value -= rounded;
    rounded = from_bf16(to_bf16(value));
  }
  return flushed(rounded);
}

/// y from the last `products` products of pieces, summed in fp64.
std::vector<double> from_pieces(const QgemmProblem& p, std::span<const double> x,
                                std::span<const double> w, int products) {
  std::vector<double> y;
  for (std::int64_t m = 0; m < p.M; ++m) {
    for (std::int64_t n = 0; n < p.N; ++n) {
      double sum = 0;
      for (std::int64_t k = 0; k < p.K; ++k) {
        for (int at = kMostPieceProducts - products; at < kMostPieceProducts; ++at) {
          sum += flushed(piece(x[m * p.K + k], kPieceProducts[at].x) *
                         piece(w[n * p.K + k], kPieceProducts[at].w));
        }
      }
      y.push_back(sum);
    }
  }
  return y;
}

std::vector<double> values_of(const Tensor& t) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < t.elements(); ++i) {
    values.push_back(t.dtype == DType::kF16 ? from_fp16(t.as<std::uint16_t>()[i])
                                            : t.as<float>()[i]);
  }
  return values;
}

struct PiecesCase {
  const char* scheme;
  int products;
  double u_operand;
};

class QgemmPieces : public ::testing::TestWithParam<PiecesCase> {};

TEST_P(QgemmPieces, WhatIsLeftOutStaysWithinTheBound) {
  Problem problem(find_op("qgemm"));
  problem.set("M", std::int64_t{5}).set("N", std::int64_t{20}).set("K", std::int64_t{300});
  problem.set_text("scheme", GetParam().scheme);
  const QgemmProblem p = QgemmProblem::from(problem);
  Arithmetic a;
  a.u_acc = 0;
  a.u_operand = GetParam().u_operand;
  a.operand_products = GetParam().products;
  a.flushes_subnormals = true;
  for (const char* distribution : {"normal", "outlier", "positive", "uniform", "subnormal"}) {
    const Operands operands = problem.op().encode(
        problem, problem.op().draw(problem, {.distribution = distribution, .seed = 3}));
    const ReferenceTerms terms =
        problem.op().reference(problem, operands, problem.op().positions(problem, operands, 1), 1);
    const std::vector<double>& truth = terms[kQgemmY].column[kTermValue];
    const Bounds bounds = problem.op().bound(problem, kQgemmY, terms[kQgemmY], a);
    const std::vector<double> x = values_of(operands[kQgemmX].view());
    const std::vector<double> w = values_of(operands[kQgemmW].view());
    ASSERT_EQ(truth.size(), static_cast<std::size_t>(p.M * p.N));
    const auto worst = [&](int products) {
      const std::vector<double> y = from_pieces(p, x, w, products);
      double largest = 0;
      double rms = 0;
      for (std::size_t i = 0; i < y.size(); ++i) {
        const double error = std::abs(y[i] - truth[i]);
        largest = std::max(largest, error / bounds.det[i]);
        rms += error / bounds.stat[i] * (error / bounds.stat[i]);
      }
      return std::max(largest, std::sqrt(rms / static_cast<double>(y.size())));
    };
    EXPECT_LE(worst(GetParam().products), 1) << distribution;
    if (std::string(distribution) == "subnormal") continue;
    EXPECT_GT(worst(GetParam().products - 1), 1) << distribution;
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, QgemmPieces,
                         ::testing::Values(PiecesCase{"fp16", 3, kPiecesLost3Fp16},
                                           PiecesCase{"fp32", 3, kPiecesLost3},
                                           PiecesCase{"fp32", 6, kPiecesLost6}),
                         [](const auto& info) {
                           return std::string(info.param.scheme) + "_x" +
                                  std::to_string(info.param.products);
                         });

}  // namespace
}  // namespace pareto
