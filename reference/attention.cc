// Op attention: keys, shapes, compared positions and counted work. The other parts are in
// attention_<part>.cc.
#include "reference/attention.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <set>

#include "harness/errors.h"
#include "harness/registry.h"
#include "reference/attention_op.h"
#include "reference/attention_rows.h"
#include "reference/attention_shapes.h"
#include "reference/distributions.h"
#include "reference/parallel_rows.h"

namespace pareto {
namespace {

constexpr double kNoLimit = 9.0e15;
constexpr std::int64_t kUnset = -1;
// Sizes of a problem that says nothing.
constexpr std::int64_t kDefaultHeads = 4;
constexpr std::int64_t kDefaultSeq = 64;
constexpr std::int64_t kDefaultHeadDim = 64;
// Bigger problems are compared on a sample.
constexpr double kSampledMultiplyAdds = 2e9;
constexpr std::int64_t kSampledElements = std::int64_t{1} << 22;
constexpr std::int64_t kSampleRows = 64;
constexpr std::int64_t kSampleElements = 4096;

Key size_key(const char* name, const char* help, double min = 0) {
  // kUnset lies below min: nobody can type it, so that "not set" and 0 stay apart.
  return {.name = name, .kind = KeyKind::kSize, .default_value = kUnset, .min = min, .help = help};
}

Key word_key(const char* name, std::vector<std::string> words, const char* help) {
  const std::string first = words.front();
  return {.name = name,
          .kind = KeyKind::kWord,
          .default_value = first,
          .words = std::move(words),
          .help = help};
}

std::vector<Key> make_keys() {
  const std::vector<std::string> broadcast = {"none", "full", "heads", "shared", "keys"};
  return {
      size_key("batch", "sequences (default 1)"),
      size_key("heads_q", "query heads, a multiple of heads_kv (default 4)"),
      size_key("heads_kv", "key and value heads (default heads_q)"),
      size_key("seq_q", "queries per sequence; of the longest one (default 64)"),
      size_key("seq_kv", "keys per sequence; of the longest one (default seq_q)"),
      size_key("head_dim", "width of q and k (default 64)", 1),
      size_key("head_dim_v", "width of v (default head_dim)"),
      word_key("dtype", {"fp32", "bf16", "fp16", "fp8_e4m3"}, "type of q, k and v"),
      word_key("kv_dtype", {"same", "bf16", "fp16", "int8", "fp8_e4m3"}, "type of k and v"),
      word_key("mask", {"none", "causal", "causal_top_left"}, "causal: aligned bottom-right"),
      {.name = "window_left",
       .kind = KeyKind::kInteger,
       .default_value = std::int64_t{-1},
       .min = -1,
       .help = "keys seen to the left of the diagonal; -1: all"},
      {.name = "window_right",
       .kind = KeyKind::kInteger,
       .default_value = std::int64_t{-1},
       .min = -1,
       .help = "keys seen to the right of the diagonal; -1: all"},
      {.name = "softcap",
       .kind = KeyKind::kReal,
       .default_value = 0.0,
       .min = 0,
       .max = 1e30,
       .help = "c of s = c tanh(s/c); 0: none"},
      {.name = "scale",
       .kind = KeyKind::kReal,
       .default_value = std::numeric_limits<double>::quiet_NaN(),
       .nan_word = "auto",
       .min = -1e30,
       .max = 1e30,
       .help = "factor of q k; auto: head_dim^-1/2"},
      word_key("out_dtype", {"same", "fp32", "bf16", "fp16"}, "type of o; same: dtype, fp8 bf16"),
      word_key("layout", {"dense", "ragged", "paged", "paged_ragged"}, "how sequences are stored"),
      {.name = "page_size",
       .kind = KeyKind::kSize,
       .default_value = std::int64_t{16},
       .min = 1,
       .help = "tokens per page of layout paged"},
      word_key("v", {"given", "none"}, "none: v is the first head_dim_v columns of k (MLA)"),
      word_key("bias", broadcast,
               "added to logits; extents drawn: full [batch, heads_q, seq_q, "
               "seq_kv], heads [1, heads_q, …], shared [1, 1, seq_q, seq_kv], "
               "keys [1, 1, 1, seq_kv]"),
      word_key("allowed", broadcast, "boolean mask; extents drawn as for bias"),
      word_key("alibi", {"none", "given"}, "slopes of a linear bias, one per query head"),
      word_key("sinks", {"none", "given"}, "a logit per query head without a value"),
  };
}

const std::vector<Key>& key_list() {
  static const std::vector<Key> keys = make_keys();
  return keys;
}

const std::vector<std::string>& slot_list() {
  static const std::vector<std::string> slots = {"q",
                                                 "k",
                                                 "v",
                                                 "q_scale",
                                                 "k_scale",
                                                 "v_scale",
                                                 "bias",
                                                 "allowed",
                                                 "alibi_slopes",
                                                 "sinks",
                                                 "cu_seqlens_q",
                                                 "cu_seqlens_kv",
                                                 "block_table",
                                                 "seqlens_kv"};
  return slots;
}

std::int64_t size_or(const Problem& problem, const char* key, std::int64_t otherwise) {
  const std::int64_t size = problem.size(key);
  return size == kUnset ? otherwise : size;
}

DType dtype_of(const std::string& word) {
  if (word == "bf16") return DType::kBf16;
  if (word == "fp16") return DType::kF16;
  if (word == "fp8_e4m3") return DType::kE4m3;
  return word == "int8" ? DType::kS8 : DType::kF32;
}

DType out_dtype_of(const std::string& word, DType q_dtype) {
  if (word != "same") return dtype_of(word);
  return q_dtype == DType::kE4m3 ? DType::kBf16 : q_dtype;
}

AttentionMask mask_of(const std::string& word) {
  if (word == "none") return AttentionMask::kNone;
  return word == "causal" ? AttentionMask::kCausal : AttentionMask::kCausalTopLeft;
}

AttentionLayout layout_of(const std::string& word) {
  if (word == "ragged") return AttentionLayout::kRagged;
  if (word == "paged") return AttentionLayout::kPaged;
  return word == "dense" ? AttentionLayout::kDense : AttentionLayout::kPagedRagged;
}

void check(const AttentionProblem& p) {
  if (p.heads_kv == 0 ? p.heads_q != 0 : p.heads_q % p.heads_kv != 0) {
    throw InputError(
        fmt::format("heads_q = {} must be a multiple of heads_kv = {}", p.heads_q, p.heads_kv));
  }
  if (!p.has_v && p.head_dim_v > p.head_dim) {
    throw InputError(
        fmt::format("head_dim_v = {} must be at most head_dim = {} when v is part of k",
                    p.head_dim_v, p.head_dim));
  }
  constexpr double kMaxTokens = std::numeric_limits<std::int32_t>::max();
  const auto tokens =
      static_cast<double>(p.batch) * static_cast<double>(std::max(p.seq_q, p.seq_kv));
  if (p.layout != AttentionLayout::kDense && tokens > kMaxTokens) {
    throw InputError(
        fmt::format("batch = {} sequences of {} tokens exceed the {} that int32 tables "
                    "can count",
                    p.batch, std::max(p.seq_q, p.seq_kv), kMaxTokens));
  }
}

/// Operands whose elements are worth counting as the KV cache.
double kv_elements(const AttentionProblem& p, double tokens) {
  return tokens * static_cast<double>(p.heads_kv) *
         static_cast<double>(p.head_dim + (p.has_v ? p.head_dim_v : 0));
}

/// Bytes of k and v with their scales: those of `tokens` tokens.
double kv_bytes(const AttentionProblem& p, double tokens) {
  double bytes = kv_elements(p, tokens) * static_cast<double>(size_of(p.kv_dtype));
  const double tensors = p.has_v ? 2 : 1;
  if (p.kv_dtype == DType::kS8) bytes += tensors * 4 * tokens * static_cast<double>(p.heads_kv);
  if (p.kv_dtype == DType::kE4m3) {
    bytes += tensors * 4 * static_cast<double>(p.heads_kv * (p.paged() ? 1 : p.batch));
  }
  return bytes;
}

Work work_of(const AttentionProblem& p, double visible, double tokens_q, double tokens_kv,
             double other_bytes) {
  Work work;
  work.flops = 2 * visible * static_cast<double>(p.head_dim + p.head_dim_v);
  const double rows = tokens_q * static_cast<double>(p.heads_q);
  work.compressed_bytes = kv_bytes(p, tokens_kv);
  work.dense16_bytes = 2 * kv_elements(p, tokens_kv);
  work.bytes =
      rows * static_cast<double>(p.head_dim) * static_cast<double>(size_of(p.q_dtype)) +
      work.compressed_bytes + other_bytes +
      rows * static_cast<double>(p.head_dim_v) * static_cast<double>(size_of(p.out_dtype)) +
      rows * 4;
  return work;
}

double visible_without_filter(const AttentionProblem& p, std::int64_t seq_q, std::int64_t seq_kv) {
  double sum = 0;
  for (std::int64_t i = 0; i < seq_q; ++i) {
    sum += static_cast<double>(p.visible(i, seq_q, seq_kv).size());
  }
  return sum;
}

/// LSE is ln N for q = 0: exact for no N but 1, so that bit-for-bit comparison excludes it.
bool all_zero(const Tensor& q) {
  for (std::int64_t i = 0; i < q.elements(); ++i) {
    if (value_at(q, i) != 0) return false;
  }
  return q.elements() > 0;
}

/// Rows of a big problem: a seeded sample, and the border rows of the first and the last head.
std::set<std::int64_t> sample_rows(const AttentionOperands& operands, std::uint64_t seed) {
  static constexpr std::int64_t kBorders[] = {0,  1,   15,  16,  17,  31,  32,  33,  63,
                                              64, 127, 128, 191, 192, 255, 256, 511, 512};
  const AttentionProblem& p = operands.problem();
  const std::int64_t rows = operands.rows();
  const std::int64_t wanted =
      std::max(kSampleRows, kSampleElements / std::max<std::int64_t>(p.head_dim_v, 1));
  std::set<std::int64_t> chosen;
  const std::uint64_t key = stream_key({.distribution = "", .seed = seed}, "positions");
  for (std::int64_t i = 0; i < wanted; ++i) {
    chosen.insert(static_cast<std::int64_t>(
        random_below(key, static_cast<std::uint64_t>(i), static_cast<std::uint64_t>(rows))));
  }
  chosen.insert({0, rows - 1});
  for (const std::int64_t b : {std::int64_t{0}, p.batch - 1}) {
    const AttentionSequence& s = operands.sequence(b);
    for (const std::int64_t i : kBorders) {
      if (i >= s.seq_q) break;
      chosen.insert({s.q_row(0, i), s.q_row(p.heads_q - 1, s.seq_q - 1 - i)});
    }
  }
  return chosen;
}

class Attention : public Op {
 public:
  [[nodiscard]] std::string_view name() const override { return "attention"; }
  [[nodiscard]] std::span<const Key> keys() const override { return key_list(); }
  [[nodiscard]] std::span<const std::string> slots() const override { return slot_list(); }

  void complete(Problem& problem) const override {
    const AttentionProblem p = AttentionProblem::from(problem);
    check(p);
    problem.set("batch", p.batch).set("heads_q", p.heads_q).set("heads_kv", p.heads_kv);
    problem.set("seq_q", p.seq_q).set("seq_kv", p.seq_kv);
    problem.set("head_dim", p.head_dim).set("head_dim_v", p.head_dim_v);
  }

  [[nodiscard]] TensorMap draw(const Problem& problem, const Draw& draw) const override {
    return attention_draw(problem, draw);
  }
  void adopt(Problem& problem, TensorMap& inputs) const override {
    attention_adopt(problem, inputs);
  }
  void narrow(const Problem& problem, TensorMap& inputs) const override {
    attention_narrow(problem, inputs);
  }
  void vary(const Problem& problem, TensorMap& inputs, std::int64_t content) const override {
    attention_vary(problem, inputs, content);
  }
  [[nodiscard]] Operands encode(const Problem& problem, const TensorMap& inputs) const override {
    return attention_encode(problem, inputs);
  }

  [[nodiscard]] bool persistent(const Problem& problem, int slot) const override {
    if (!AttentionProblem::from(problem).decode()) return false;
    switch (slot) {
      case kAttentionK:
      case kAttentionV:
      case kAttentionKScale:
      case kAttentionVScale:
      case kAttentionCuSeqlensKv:
      case kAttentionBlockTable:
      case kAttentionSeqlensKv:
        return true;
      default:
        return false;
    }
  }

  [[nodiscard]] std::vector<OutputSpec> outputs(const Problem& problem,
                                                const Operands& operands) const override {
    return attention_outputs(problem, operands);
  }

  [[nodiscard]] Positions positions(const Problem& problem, const Operands& operands,
                                    std::uint64_t seed) const override {
    const AttentionOperands all(AttentionProblem::from(problem), operands);
    const AttentionProblem& p = all.problem();
    const std::int64_t width = p.head_dim_v;
    const double multiply_adds = work(problem, operands).flops / 2;
    Positions positions(kAttentionOutputCount);
    const auto add = [&](std::int64_t row) {
      for (std::int64_t c = 0; c < width; ++c) positions[kAttentionO].push_back(row * width + c);
      positions[kAttentionLse].push_back(row);
    };
    if (multiply_adds > kSampledMultiplyAdds || all.rows() * width > kSampledElements) {
      for (const std::int64_t row : sample_rows(all, seed)) add(row);
    } else {
      for (std::int64_t row = 0; row < all.rows(); ++row) add(row);
    }
    if (all_zero(operands[kAttentionQ].view())) positions[kAttentionLse].clear();
    return positions;
  }

  [[nodiscard]] ReferenceTerms reference(const Problem& problem, const Operands& operands,
                                         const Positions& positions, int threads) const override {
    return attention_reference(problem, operands, positions, threads);
  }
  [[nodiscard]] std::vector<std::vector<double>> original(const Problem& problem,
                                                          const TensorMap& inputs,
                                                          const Positions& positions,
                                                          int threads) const override {
    return attention_original(problem, inputs, positions, threads);
  }
  [[nodiscard]] Bounds bound(const Problem& problem, int output, const Terms& terms,
                             const Arithmetic& arithmetic) const override {
    return attention_bound(problem, output, terms, arithmetic);
  }

  [[nodiscard]] Work work(const Problem& problem, const Operands& operands) const override {
    const AttentionProblem p = AttentionProblem::from(problem);
    std::vector<Tensor> in;
    for (const HostTensor& operand : operands) in.push_back(operand.view());
    double other = 0;
    for (int slot = kAttentionQScale; slot < kAttentionSlotCount; ++slot) {
      if (slot != kAttentionKScale && slot != kAttentionVScale) {
        other += static_cast<double>(in[slot].bytes());
      }
    }
    double tokens_q = 0;
    double tokens_kv = 0;
    const AttentionTables tables = AttentionTables::from(in);
    for (std::int64_t b = 0; b < p.batch; ++b) {
      const AttentionSequence s = AttentionSequence::of(p, tables, b);
      tokens_q += static_cast<double>(s.seq_q);
      tokens_kv += static_cast<double>(s.seq_kv);
    }
    return work_of(p, attention_visible_keys(p, in), tokens_q, tokens_kv, other);
  }

  [[nodiscard]] Work estimate(const Problem& problem) const override {
    const AttentionProblem p = AttentionProblem::from(problem);
    // Drawn lengths are uniform up to the longest: half of it on average.
    const double share_q = p.ragged_q() && p.batch > 1 ? 0.5 : 1;
    const double share_kv = p.layout != AttentionLayout::kDense && p.batch > 1 ? 0.5 : 1;
    const auto batch = static_cast<double>(p.batch);
    const double visible = share_q * share_kv * batch * static_cast<double>(p.heads_q) *
                           visible_without_filter(p, p.seq_q, p.seq_kv);
    return work_of(p, visible, share_q * batch * static_cast<double>(p.seq_q),
                   share_kv * batch * static_cast<double>(p.seq_kv), 0);
  }

  [[nodiscard]] std::vector<BatteryInput> battery(const Problem& like) const override {
    return attention_battery(like);
  }
  [[nodiscard]] std::vector<Mutant> mutants(const Problem& like) const override {
    return attention_mutants(like);
  }
  [[nodiscard]] Outputs mutate(std::string_view mutant, const Problem& problem,
                               const Operands& operands) const override {
    return attention_mutate(mutant, problem, operands);
  }
};

}  // namespace

AttentionProblem AttentionProblem::from(const Problem& problem) {
  AttentionProblem p;
  p.batch = size_or(problem, "batch", 1);
  p.heads_q = size_or(problem, "heads_q", kDefaultHeads);
  p.heads_kv = size_or(problem, "heads_kv", p.heads_q);
  p.seq_q = size_or(problem, "seq_q", kDefaultSeq);
  p.seq_kv = size_or(problem, "seq_kv", p.seq_q);
  p.head_dim = size_or(problem, "head_dim", kDefaultHeadDim);
  p.head_dim_v = size_or(problem, "head_dim_v", p.head_dim);
  p.q_dtype = dtype_of(problem.word("dtype"));
  const std::string& kv_dtype = problem.word("kv_dtype");
  p.kv_dtype = kv_dtype == "same" ? p.q_dtype : dtype_of(kv_dtype);
  p.out_dtype = out_dtype_of(problem.word("out_dtype"), p.q_dtype);
  p.mask = mask_of(problem.word("mask"));
  p.window_left = problem.size("window_left");
  p.window_right = problem.size("window_right");
  p.softcap = problem.real("softcap");
  const double scale = problem.real("scale");
  p.scale = std::isnan(scale) ? 1 / std::sqrt(static_cast<double>(p.head_dim)) : scale;
  p.layout = layout_of(problem.word("layout"));
  p.page_size = problem.size("page_size");
  p.has_v = problem.word("v") == "given";
  p.has_bias = problem.word("bias") != "none";
  p.has_allowed = problem.word("allowed") != "none";
  p.has_alibi = problem.word("alibi") == "given";
  p.has_sinks = problem.word("sinks") == "given";
  return p;
}

std::vector<OutputSpec> attention_outputs(const Problem& problem, const Operands& operands) {
  const AttentionProblem p = AttentionProblem::from(problem);
  const Shape& q = operands[kAttentionQ].shape();
  if (p.ragged_q()) {
    return {{"o", p.out_dtype, {q[0], q[1], p.head_dim_v}}, {"lse", DType::kF32, {q[0], q[1]}}};
  }
  return {{"o", p.out_dtype, {q[0], q[1], q[2], p.head_dim_v}},
          {"lse", DType::kF32, {q[0], q[1], q[2]}}};
}

double attention_visible_keys(const AttentionProblem& p, std::span<const Tensor> in) {
  const AttentionTables tables = AttentionTables::from(in);
  const auto allowed = AttentionBroadcast<std::uint8_t>::of(in[kAttentionAllowed]);
  double sum = 0;
  for (std::int64_t b = 0; b < p.batch; ++b) {
    const AttentionSequence s = AttentionSequence::of(p, tables, b);
    if (allowed.data == nullptr) {
      sum += static_cast<double>(p.heads_q) * visible_without_filter(p, s.seq_q, s.seq_kv);
      continue;
    }
    const std::int64_t heads =
        allowed.stride_h == 0 ? std::min<std::int64_t>(1, p.heads_q) : p.heads_q;
    std::int64_t keys = 0;
    for (std::int64_t head = 0; head < heads; ++head) {
      for (std::int64_t i = 0; i < s.seq_q; ++i) {
        const KeyRange range = p.visible(i, s.seq_q, s.seq_kv);
        const std::uint8_t* row = allowed.row(b, head, i);
        for (std::int64_t j = range.lo; j < range.hi; ++j) keys += row[j * allowed.stride_j] != 0;
      }
    }
    sum += static_cast<double>(keys) * (heads > 0 ? static_cast<double>(p.heads_q / heads) : 0);
  }
  return sum;
}

namespace {
const OpRegistration registration{std::make_unique<Attention>()};
}  // namespace

}  // namespace pareto
