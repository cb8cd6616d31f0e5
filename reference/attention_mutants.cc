// Wrong results made on purpose: what a broken attention kernel would write.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "harness/errors.h"
#include "harness/poison.h"
#include "reference/attention_op.h"
#include "reference/attention_rows.h"
#include "reference/number_formats.h"

namespace pareto {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::int64_t kRescaleBlock = 8;

/// What becomes of correct outputs afterwards.
enum class Spoil : std::uint8_t { kNothing, kZeros, kTwice, kTransposed, kOneMissing, kBinaryLse };

struct MutantKind {
  std::string name;
  AttentionFault fault;
  Spoil spoil = Spoil::kNothing;
  /// "" or why the mutant cannot exist for the problem.
  std::string (*not_applicable)(const AttentionProblem&) = nullptr;
};

std::string never(const AttentionProblem&) { return ""; }

std::string unless(bool there, const char* reason) { return there ? "" : reason; }

/// Keys that one row can see at most, whatever the length; 0: no limit.
std::int64_t window_keys(const AttentionProblem& p) {
  const bool causal = p.mask != AttentionMask::kNone;
  const std::int64_t right =
      causal ? (p.window_right < 0 ? 0 : std::min<std::int64_t>(0, p.window_right))
             : p.window_right;
  if (p.window_left < 0 || right < 0) return 0;
  return p.window_left + right + 1;
}

std::string needs_bound(const AttentionProblem& p) {
  return unless(p.masked(), "no mask and no window");
}
std::string needs_alignment(const AttentionProblem& p) {
  if (p.mask == AttentionMask::kCausalTopLeft) return "the mask is aligned top-left";
  return unless(p.masked() || p.has_alibi, "nothing depends on the alignment");
}
std::string needs_heads(const AttentionProblem& p) {
  return unless(p.heads_kv > 1, "one KV head only");
}
std::string needs_scales(const AttentionProblem& p) {
  if (!p.has_v) return "v shares k's scales";
  return unless(size_of(p.kv_dtype) == 1, "k and v have no scales");
}
std::string needs_pages(const AttentionProblem& p) { return unless(p.paged(), "no pages"); }
std::string needs_scale(const AttentionProblem& p) {
  return unless(p.scale != 1, "the scale is 1");
}
std::string needs_softcap(const AttentionProblem& p) { return unless(p.softcap > 0, "no softcap"); }
std::string needs_alibi(const AttentionProblem& p) { return unless(p.has_alibi, "no ALiBi"); }
std::string needs_bias(const AttentionProblem& p) { return unless(p.has_bias, "no bias"); }
std::string needs_allowed(const AttentionProblem& p) {
  return unless(p.has_allowed, "no boolean mask");
}
std::string needs_sinks(const AttentionProblem& p) { return unless(p.has_sinks, "no sinks"); }
std::string needs_columns(const AttentionProblem& p) {
  return unless(p.head_dim_v > 1, "v has fewer than two columns");
}
std::string needs_values(const AttentionProblem& p) {
  return unless(p.head_dim_v > 0, "v has no columns");
}
std::string needs_two_keys(const AttentionProblem& p) {
  return unless(window_keys(p) != 1 && p.head_dim_v > 0, "a row sees one key at most");
}
std::string needs_maxima(const AttentionProblem& p) {
  if (p.scale == 0 && !p.has_bias && !p.has_alibi) return "all logits are equal";
  return needs_two_keys(p);
}
std::string needs_many_keys(const AttentionProblem& p) {
  const std::int64_t keys = window_keys(p);
  if (keys > 0 && keys < 32)
    return fmt::format("a row sees {} keys at most: too short a sum", keys);
  if (p.mask == AttentionMask::kCausalTopLeft && p.decode()) {
    return "a row sees 16 keys at most: too short a sum";
  }
  return needs_values(p);
}

const std::vector<MutantKind>& kinds() {
  static const std::vector<MutantKind> list = {
      {"zeros", {}, Spoil::kZeros, never},
      {"twice", {}, Spoil::kTwice, needs_values},
      {"last_kv_tile_dropped", {.drop_last_tile = true}, Spoil::kNothing, never},
      {"first_key_dropped", {.drop_first_key = true}, Spoil::kNothing, never},
      {"last_key_dropped", {.drop_last_key = true}, Spoil::kNothing, never},
      {"mask_off_by_one", {.one_key_too_far = true}, Spoil::kNothing, needs_bound},
      {"aligned_top_left", {.top_left = true}, Spoil::kNothing, needs_alignment},
      {"missed_rescale", {.missed_rescale = true}, Spoil::kNothing, needs_maxima},
      {"swapped_heads", {.wrong_kv_head = true}, Spoil::kNothing, needs_heads},
      {"swapped_scales", {.swapped_scales = true}, Spoil::kNothing, needs_scales},
      {"pages_in_order", {.pages_in_order = true}, Spoil::kNothing, needs_pages},
      {"missing_scale", {.no_scale = true}, Spoil::kNothing, needs_scale},
      {"missing_softcap", {.no_softcap = true}, Spoil::kNothing, needs_softcap},
      {"missing_alibi", {.no_alibi = true}, Spoil::kNothing, needs_alibi},
      {"missing_bias", {.no_bias = true}, Spoil::kNothing, needs_bias},
      {"missing_allowed", {.no_allowed = true}, Spoil::kNothing, needs_allowed},
      {"missing_sink", {.no_sinks = true}, Spoil::kNothing, needs_sinks},
      {"accumulated_in_16_bits", {.bf16_sums = true}, Spoil::kNothing, needs_many_keys},
      {"transposed_tile", {}, Spoil::kTransposed, needs_columns},
      {"one_element_not_written", {}, Spoil::kOneMissing, needs_values},
      {"lse_base_2", {}, Spoil::kBinaryLse, never},
  };
  return list;
}

const MutantKind& find_kind(std::string_view name) {
  for (const MutantKind& kind : kinds()) {
    if (kind.name == name) return kind;
  }
  throw InputError(fmt::format("attention has no mutant '{}'", name));
}

double to_bf16_and_back(double value) { return from_bf16(to_bf16(value)); }

/// One output element of a row, with the faults that concern P·V.
double element(const AttentionRow& row, const AttentionKv& kv, std::int64_t width,
               std::int64_t column, const AttentionFault& fault) {
  double sum = 0;
  double block_max = -kInfinity;
  for (std::size_t at = 0; at < row.key.size(); ++at) {
    const std::int64_t j = row.key[at] - kv.first;
    const double v = kv.v[j * width + column] * kv.v_scale[j];
    if (fault.bf16_sums) {
      sum = to_bf16_and_back(sum + row.p[at] * row.l * v);
      continue;
    }
    if (fault.missed_rescale) {
      // e^(s − m of the blocks so far) is never brought to the final maximum.
      if (at == 0 || row.key[at] / kRescaleBlock != row.key[at - 1] / kRescaleBlock) {
        for (std::size_t k = at; k < row.key.size(); ++k) {
          if (row.key[k] / kRescaleBlock != row.key[at] / kRescaleBlock) break;
          block_max = std::max(block_max, row.s[k]);
        }
      }
      if (row.s[at] > -kInfinity) sum += std::exp(row.s[at] - block_max) * v;
      continue;
    }
    sum += row.p[at] * v;
  }
  return fault.bf16_sums || fault.missed_rescale ? sum / row.l : sum;
}

void transpose_pair(const Tensor& o, std::int64_t width) {
  const std::int64_t rows = o.elements() / width;
  const std::size_t size = size_of(o.dtype);
  for (std::int64_t row = 0; row + 1 < rows; row += 2) {
    std::byte* upper = o.data + (row * width + 1) * size;
    std::byte* lower = o.data + (row + 1) * width * size;
    std::swap_ranges(upper, upper + size, lower);
  }
}

void scale_all(const Tensor& tensor, double factor) {
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    const double value = value_at(tensor, i);
    store_rounded(tensor, i, factor == 0 ? 0 : value * factor);
  }
}

void spoil(Spoil how, const Outputs& outputs, std::int64_t width) {
  const Tensor& o = outputs[kAttentionO].view();
  const Tensor& lse = outputs[kAttentionLse].view();
  switch (how) {
    case Spoil::kNothing:
      return;
    case Spoil::kZeros:
      scale_all(o, 0);
      scale_all(lse, 0);
      return;
    case Spoil::kTwice:
      scale_all(o, 2);
      return;
    case Spoil::kTransposed:
      if (width > 1) transpose_pair(o, width);
      return;
    case Spoil::kOneMissing: {
      if (o.elements() == 0) return;
      const std::size_t size = size_of(o.dtype);
      HostTensor poisoned(o.dtype, {1});
      poison(poisoned.view());
      std::copy_n(poisoned.view().data, size, o.data + o.elements() / 2 * size);
      return;
    }
    case Spoil::kBinaryLse:
      scale_all(lse, 1 / std::log(2.0));
      return;
  }
}

}  // namespace

std::vector<Mutant> attention_mutants(const Problem& like) {
  const AttentionProblem p = AttentionProblem::from(like);
  std::vector<Mutant> mutants;
  for (const MutantKind& kind : kinds()) mutants.push_back({kind.name, kind.not_applicable(p)});
  return mutants;
}

Outputs attention_mutate(std::string_view mutant, const Problem& problem,
                         const Operands& operands) {
  const MutantKind& kind = find_kind(mutant);
  const AttentionOperands all(AttentionProblem::from(problem), operands);
  const std::int64_t width = all.problem().head_dim_v;
  Outputs outputs;
  for (const OutputSpec& spec : attention_outputs(problem, operands)) {
    outputs.emplace_back(spec.dtype, spec.shape);
  }
  std::vector<AttentionQuery> queries;
  for (std::int64_t row = 0; row < all.rows(); ++row) queries.push_back(all.locate(row));
  const auto steps = static_cast<std::int64_t>(attention_visible_keys(all.problem(), all.slots())) *
                     (all.problem().head_dim + width);
  all.for_queries(queries, threads_for(steps), kind.fault,
                  [&](std::int64_t, const AttentionQuery& query, const AttentionKv& kv,
                      const AttentionRow& row) {
                    const bool empty = row.m == -kInfinity;
                    for (std::int64_t c = 0; c < width; ++c) {
                      store_rounded(outputs[kAttentionO].view(), query.row * width + c,
                                    empty ? 0 : element(row, kv, width, c, kind.fault));
                    }
                    store_rounded(outputs[kAttentionLse].view(), query.row, row.lse);
                  });
  spoil(kind.spoil, outputs, width);
  return outputs;
}

}  // namespace pareto
