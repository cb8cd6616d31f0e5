// Wrong results made on purpose: fp64 results with one fault each, rounded to the output's type.
#include <algorithm>

#include "harness/errors.h"
#include "reference/qgemm_dense.h"
#include "reference/qgemm_faults.h"
#include "reference/qgemm_parts.h"

namespace pareto {
namespace {

Outputs accumulate_16bit(const QgemmDense& dense, std::span<const Tensor> in) {
  return dense.p.integer_products() ? multiply_saturating(dense, in)
                                    : multiply_dense(dense, DenseAccumulator::kElevenBits);
}

// Reasons why a mutant cannot exist for a problem; "" if it can.
std::string never(const QgemmProblem&) { return ""; }
std::string without_w_scales(const QgemmProblem& p) {
  if (p.w_kind == WKind::kFloat) return "w has no scales";
  return p.scheme->x == XKind::kS8Tensor && !p.integer_operands() ? "w has one scale" : "";
}
std::string without_w_groups(const QgemmProblem& p) {
  if (p.w_kind == WKind::kFloat) return "w has no scales";
  const bool per_row = p.w_kind == WKind::kS8 || p.w_kind == WKind::kFp8Row;
  return per_row ? "a row of w has one scale" : "";
}
std::string without_x_scales(const QgemmProblem& p) {
  if (p.x_kind == XKind::kFloat) return "x has no scales";
  const bool one = p.x_kind == XKind::kS8Tensor || p.x_kind == XKind::kS8Static;
  return one ? "x has one scale" : "";
}
std::string without_inexact_x_scales(const QgemmProblem& p) {
  if (p.x_kind == XKind::kFloat || p.x_kind == XKind::kInteger) return "x is not quantized here";
  return p.x_kind == XKind::kMxfp8 ? "quotients by powers of two are exact" : "";
}
std::string without_zero_points(const QgemmProblem& p) {
  return has_x_zero_points(p) || has_w_zero_points(p) ? "" : "the scheme has no zero point";
}
std::string without_nibbles(const QgemmProblem& p) {
  return packs_nibbles(p) ? "" : "w is not packed in nibbles";
}
std::string without_bias(const QgemmProblem& p) { return p.has_bias ? "" : "there is no bias"; }
std::string without_activation(const QgemmProblem& p) {
  return p.activation == Activation::kNone ? "there is no activation" : "";
}
std::string without_wide_sums(const QgemmProblem& p) {
  if (p.out_dtype != DType::kF32) return "judged with out_dtype = fp32";
  const bool fits = p.integer_products() && p.w_kind == WKind::kQ4Block;
  return fits ? "sums of 32 products of 4 by 8 bits fit 16 bits" : "";
}

struct MutantSpec {
  const char* name;
  std::string (*not_applicable)(const QgemmProblem&);
  void (*operands)(const QgemmProblem&, std::span<const Tensor>) = nullptr;
  void (*dense)(QgemmDense&, std::span<const Tensor>) = nullptr;
  Outputs (*product)(const QgemmDense&, std::span<const Tensor>) = nullptr;
  void (*outputs)(const QgemmProblem&, Outputs&) = nullptr;
};

const std::vector<MutantSpec>& specs() {
  static const std::vector<MutantSpec> list = {
      {.name = "zeros",
       .not_applicable = never,
       .outputs = [](const QgemmProblem&, Outputs& y) { scale_outputs(y, 0); }},
      {.name = "twice",
       .not_applicable = never,
       .outputs = [](const QgemmProblem&, Outputs& y) { scale_outputs(y, 2); }},
      {.name = "last_k_tile_dropped",
       .not_applicable = never,
       .dense = [](QgemmDense& d, std::span<const Tensor>) { drop_last_tile(d); }},
      {.name = "last_k_dropped",
       .not_applicable = never,
       .dense = [](QgemmDense& d, std::span<const Tensor>) { drop_from(d, d.p.K - 1); }},
      {.name = "swapped_w_scales",
       .not_applicable = without_w_scales,
       .operands = swap_w_scale_rows},
      {.name = "swapped_w_groups",
       .not_applicable = without_w_groups,
       .operands = swap_w_scale_groups},
      {.name = "swapped_x_scales", .not_applicable = without_x_scales, .dense = swap_x_scales},
      {.name = "swapped_nibbles", .not_applicable = without_nibbles, .operands = swap_nibbles},
      {.name = "codes_by_reciprocal",
       .not_applicable = without_inexact_x_scales,
       .dense = quantize_by_reciprocal},
      {.name = "missing_zero_point",
       .not_applicable = without_zero_points,
       .dense = drop_zero_points},
      {.name = "missing_bias",
       .not_applicable = without_bias,
       .dense = [](QgemmDense& d,
                   std::span<const Tensor>) { std::fill(d.bias.begin(), d.bias.end(), 0.0); }},
      {.name = "missing_activation",
       .not_applicable = without_activation,
       .dense = [](QgemmDense& d, std::span<const Tensor>) { d.activation = Activation::kNone; }},
      {.name = "accumulator_16bit",
       .not_applicable = without_wide_sums,
       .product = accumulate_16bit},
      {.name = "transposed_tile", .not_applicable = never, .outputs = transpose_tile},
      {.name = "last_row_repeated", .not_applicable = never, .outputs = repeat_row},
      {.name = "last_column_repeated", .not_applicable = never, .outputs = repeat_column},
      {.name = "element_not_written",
       .not_applicable = never,
       .outputs = [](const QgemmProblem&, Outputs& y) { leave_last_unwritten(y); }},
  };
  return list;
}

const MutantSpec& spec_of(std::string_view name) {
  for (const MutantSpec& spec : specs()) {
    if (spec.name == name) return spec;
  }
  throw InputError("qgemm has no mutant '" + std::string(name) + "'");
}

}  // namespace

std::vector<Mutant> qgemm_mutants(const Problem& like) {
  const QgemmProblem p = QgemmProblem::from(like);
  std::vector<Mutant> mutants;
  for (const MutantSpec& spec : specs()) mutants.push_back({spec.name, spec.not_applicable(p)});
  return mutants;
}

Outputs mutate_qgemm(std::string_view mutant, const Problem& problem, const Operands& operands) {
  const MutantSpec& spec = spec_of(mutant);
  Operands copy(operands.begin(), operands.end());  // faults are put in through views
  const std::vector<Tensor> in = qgemm_views(copy);
  const QgemmProblem p = QgemmProblem::from(problem);
  if (spec.operands != nullptr) spec.operands(p, in);
  QgemmDense dense = decode_dense(problem, in);
  if (spec.dense != nullptr) spec.dense(dense, in);
  Outputs outputs = spec.product != nullptr ? spec.product(dense, in)
                                            : multiply_dense(dense, DenseAccumulator::kExact);
  if (spec.outputs != nullptr) spec.outputs(p, outputs);
  return outputs;
}

}  // namespace pareto
