// Keys of op attention, and a problem with its keys looked up.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "harness/errors.h"
#include "reference/attention_op.h"

namespace pareto {
namespace {

constexpr std::int64_t kUnset = -1;
// Sizes of a problem that says nothing.
constexpr std::int64_t kDefaultHeads = 4;
constexpr std::int64_t kDefaultSeq = 64;
constexpr std::int64_t kDefaultHeadDim = 64;

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

}  // namespace

std::span<const Key> attention_keys() {
  static const std::vector<Key> keys = make_keys();
  return keys;
}

void attention_check(const AttentionProblem& p) {
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

}  // namespace pareto
