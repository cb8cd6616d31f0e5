#include <array>

#include "harness/errors.h"
#include "reference/block_q4_k.h"
#include "reference/qgemm.h"

namespace pareto {
namespace {

using enum XKind;

// name, x, w, x_group, w_group (0: all of K), storage, x in the key `dtype`
constexpr std::array<QgemmScheme, 26> kSchemes = {{
    {"fp32", kFloat, WKind::kFloat, 0, 0, DType::kF32, false},
    {"bf16", kFloat, WKind::kFloat, 0, 0, DType::kBf16, false},
    {"fp16", kFloat, WKind::kFloat, 0, 0, DType::kF16, false},
    {"w8a8", kS8Row, WKind::kS8, 0, 0, DType::kF32, false},
    {"w8a8_tensor", kS8Tensor, WKind::kS8, 0, 0, DType::kF32, false},
    {"w8a8_static", kS8Static, WKind::kS8, 0, 0, DType::kF32, false},
    {"w8a8_asym", kU8Row, WKind::kS8, 0, 0, DType::kF32, false},
    {"w4a16_g128", kFloat, WKind::kInt4, 0, 128, DType::kF32, true},
    {"w4a16_g32", kFloat, WKind::kInt4, 0, 32, DType::kF32, true},
    {"w4a16_asym_g128", kFloat, WKind::kInt4Asym, 0, 128, DType::kF32, true},
    {"w4a8_g128", kS8Group, WKind::kInt4, 128, 128, DType::kF32, false},
    {"q8_0", kFloat, WKind::kQ8Block, 0, 32, DType::kF32, false},
    {"q4_0", kFloat, WKind::kQ4Block, 0, 32, DType::kF32, false},
    {"q4_k", kFloat, WKind::kQ4kBlock, 0, 32, DType::kF32, false},
    {"q8_0_a8", kS8Group, WKind::kQ8Block, 32, 32, DType::kF32, false},
    {"q4_0_a8", kS8Group, WKind::kQ4Block, 32, 32, DType::kF32, false},
    {"q4_k_a8", kS8Group, WKind::kQ4kBlock, 32, 32, DType::kF32, false},
    {"nf4_g64", kFloat, WKind::kNf4, 0, 64, DType::kF32, true},
    {"mxfp4", kFloat, WKind::kMxfp4, 0, 32, DType::kF32, true},
    {"mxfp6_e2m3", kFloat, WKind::kMxfp6E2m3, 0, 32, DType::kF32, true},
    {"mxfp6_e3m2", kFloat, WKind::kMxfp6E3m2, 0, 32, DType::kF32, true},
    {"nvfp4", kFloat, WKind::kNvfp4, 0, 16, DType::kF32, true},
    {"fp8_e4m3", kFp8Row, WKind::kFp8Row, 0, 0, DType::kE4m3, false},
    {"fp8_e5m2", kFp8Row, WKind::kFp8Row, 0, 0, DType::kE5m2, false},
    {"fp8_e4m3_block128", kFp8Group, WKind::kFp8Block, 128, 128, DType::kE4m3, false},
    {"mxfp8", kMxfp8, WKind::kMxfp8, 32, 32, DType::kE4m3, false},
}};

const QgemmScheme& scheme_of(const std::string& name) {
  for (const QgemmScheme& scheme : kSchemes) {
    if (scheme.name == name) return scheme;
  }
  throw InputError("scheme = '" + name + "' is not known");
}

DType out_dtype_of(const std::string& word) {
  if (word == "bf16") return DType::kBf16;
  return word == "fp16" ? DType::kF16 : DType::kF32;
}

DType x_dtype_of(const QgemmScheme& scheme, const Problem& problem) {
  if (scheme.x16) return problem.word("dtype") == "fp16" ? DType::kF16 : DType::kBf16;
  return scheme.w == WKind::kFloat ? scheme.storage : DType::kF32;
}

}  // namespace

std::span<const QgemmScheme> qgemm_schemes() { return kSchemes; }

QgemmProblem QgemmProblem::from(const Problem& problem) {
  QgemmProblem result;
  result.M = problem.size("M");
  result.N = problem.size("N");
  result.K = problem.size("K");
  result.scheme = &scheme_of(problem.word("scheme"));
  const QgemmScheme& scheme = *result.scheme;
  result.x_kind = scheme.x;
  result.w_kind = scheme.w;
  // An empty row still needs a group size to divide by.
  const std::int64_t whole = result.K > 0 ? result.K : 1;
  result.x_group = scheme.x_group > 0 ? scheme.x_group : whole;
  result.w_group = scheme.w_group > 0 ? scheme.w_group : whole;
  result.x_dtype = x_dtype_of(scheme, problem);
  if (scheme.storage == DType::kE5m2) result.fp8_dtype = DType::kE5m2;
  result.activation = activation_of(problem.word("activation"));
  result.out_dtype = out_dtype_of(problem.word("out_dtype"));
  result.has_bias = problem.word("bias") == "present";
  result.ggml_rounding = problem.word("compat") == "ggml";
  const std::string& operands = problem.word("operands");
  if (operands != "float") {
    result.x_kind = XKind::kInteger;
    result.w_kind = WKind::kS8;
    result.x_group = whole;
    result.w_group = whole;
    result.x_dtype = operands == "u8" ? DType::kU8 : DType::kS8;
    result.has_x_zero = problem.word("x_zero") == "present";
  }
  return result;
}

bool QgemmProblem::integer_products() const {
  switch (x_kind) {
    case XKind::kS8Row:
    case XKind::kS8Tensor:
    case XKind::kS8Static:
    case XKind::kU8Row:
    case XKind::kS8Group:
    case XKind::kInteger:
      return true;
    default:
      return false;
  }
}

std::int64_t QgemmProblem::w_row_bytes() const {
  switch (w_kind) {
    case WKind::kFloat:
      return K * static_cast<std::int64_t>(size_of(x_dtype));
    case WKind::kS8:
    case WKind::kFp8Row:
    case WKind::kFp8Block:
    case WKind::kMxfp8:
      return K;
    case WKind::kQ8Block:
      return (K + 31) / 32 * 34;
    case WKind::kQ4Block:
      return (K + 31) / 32 * 18;
    case WKind::kQ4kBlock:
      return (K + kQ4kBlock - 1) / kQ4kBlock * kQ4kBytes;
    case WKind::kMxfp6E2m3:
    case WKind::kMxfp6E3m2:
      return (K + 3) / 4 * 3;
    default:
      return (K + 1) / 2;
  }
}

}  // namespace pareto
