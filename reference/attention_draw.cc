// Inputs of op attention from a seed.
#include <algorithm>
#include <cmath>
#include <limits>

#include "harness/errors.h"
#include "reference/attention_op.h"
#include "reference/attention_shapes.h"
#include "reference/distributions.h"

namespace pareto {
namespace {

constexpr float kNoWeight = -300;  // e^−300 is 0 in fp32 and vanishes beside 1 in fp64
constexpr std::int64_t kPaddingTokens = 3;
constexpr double kAllowedShare = 0.8;

HostTensor tensor_of(const std::vector<std::int32_t>& values, const Shape& shape) {
  HostTensor tensor(DType::kS32, shape);
  std::copy(values.begin(), values.end(), tensor.span<std::int32_t>().begin());
  return tensor;
}

/// Extents of a drawn bias or `allowed`: the key's word says which are not broadcast.
Shape broadcast_shape(const AttentionProblem& p, const std::string& word) {
  const bool full = word == "full";
  const bool rows = full || word == "shared" || word == "heads";
  return {full ? p.batch : 1, full || word == "heads" ? p.heads_q : 1, rows ? p.seq_q : 1,
          p.seq_kv};
}

/// Largest code of a one-byte type, so that scales become powers of two; 1 for the others.
double code_limit(DType dtype) {
  if (dtype == DType::kE4m3) return 448;
  return dtype == DType::kS8 ? 127 : 1;
}

class Drawing {
 public:
  Drawing(const Problem& problem, const Draw& draw)
      : p_(AttentionProblem::from(problem)),
        problem_(problem),
        draw_(draw),
        shapes_(p_, draw.seed, draw.distribution == "unseen" ? kPaddingTokens : 0) {
    for (std::int64_t b = 0; b < p_.batch; ++b) {
      sequence_.push_back(AttentionSequence::of(p_, shapes_.tables(), b));
    }
  }

  TensorMap run() {
    make_tables();
    make_options();
    const bool own = draw_.distribution == "one_hot" || draw_.distribution == "equal_weights" ||
                     draw_.distribution == "planted" || draw_.distribution == "unseen" ||
                     draw_.distribution == "nonfinite" || draw_.distribution == "subnormal" ||
                     draw_.distribution == "uneven";
    const std::string base = own ? "normal" : draw_.distribution;
    make("q", q_shape(), base);
    make("k", kv_shape(p_.head_dim), base);
    if (p_.has_v) make("v", kv_shape(p_.head_dim_v), base);
    if (draw_.distribution == "one_hot") one_hot();
    if (draw_.distribution == "equal_weights") equal_weights();
    if (draw_.distribution == "planted") plant();
    if (draw_.distribution == "subnormal") make_subnormal();
    if (draw_.distribution == "uneven") make_uneven();
    if (draw_.distribution == "unseen" || draw_.distribution == "nonfinite") hide_non_finite();
    if (draw_.distribution == "nonfinite") show_non_finite();
    return std::move(inputs_);
  }

 private:
  [[nodiscard]] Shape q_shape() const {
    if (p_.ragged_q()) return {shapes_.total_q, p_.heads_q, p_.head_dim};
    return {p_.batch, p_.heads_q, p_.seq_q, p_.head_dim};
  }
  [[nodiscard]] Shape kv_shape(std::int64_t width) const {
    if (p_.paged()) return {shapes_.pages, p_.page_size, p_.heads_kv, width};
    if (p_.ragged_kv()) return {shapes_.total_kv, p_.heads_kv, width};
    return {p_.batch, p_.heads_kv, p_.seq_kv, width};
  }

  HostTensor& make(const std::string& name, const Shape& shape, const std::string& distribution) {
    HostTensor& tensor = inputs_[name] = HostTensor(DType::kF32, shape);
    fill_distribution(distribution, stream_key(draw_, name), tensor.span<float>(),
                      std::max<std::int64_t>(shape[shape.rank() - 1], 1));
    return tensor;
  }

  void make_tables() {
    const auto batch = p_.batch;
    if (p_.ragged_q()) inputs_["cu_seqlens_q"] = tensor_of(shapes_.cu_seqlens_q, {batch + 1});
    if (p_.ragged_kv()) inputs_["cu_seqlens_kv"] = tensor_of(shapes_.cu_seqlens_kv, {batch + 1});
    if (!p_.paged()) return;
    inputs_["seqlens_kv"] = tensor_of(shapes_.seqlens_kv, {batch});
    inputs_["block_table"] = tensor_of(shapes_.block_table, {batch, shapes_.max_pages});
  }

  // Options change with every content, but never their shapes.
  void make_options() {
    if (p_.has_bias) make("bias", broadcast_shape(p_, problem_.word("bias")), "normal");
    if (p_.has_sinks) make("sinks", {p_.heads_q}, "normal");
    if (p_.has_alibi) {
      HostTensor& slopes = make("alibi_slopes", {p_.heads_q}, "normal");
      for (std::int64_t h = 0; h < p_.heads_q; ++h) {
        // Press, Smith, Lewis 2022: a geometric sequence that ends at 2^−8.
        slopes.span<float>()[h] = static_cast<float>(
            std::exp2(-8.0 * static_cast<double>(h + 1) / static_cast<double>(p_.heads_q)));
      }
    }
    if (!p_.has_allowed) return;
    HostTensor& allowed = inputs_["allowed"] =
        HostTensor(DType::kU8, broadcast_shape(p_, problem_.word("allowed")));
    const std::uint64_t key = stream_key(draw_, "allowed");
    const std::span<std::uint8_t> bytes = allowed.span<std::uint8_t>();
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = random_unit(key, i) < kAllowedShare ? 1 + i % 255 : 0;
    }
    // Every ninth row of several has no key at all.
    const std::int64_t rows = allowed.shape()[2];
    for (std::int64_t i = 8; i < rows; i += 9) {
      std::fill_n(&bytes[i * p_.seq_kv], p_.seq_kv, std::uint8_t{0});
    }
  }

  template <typename Body>
  void for_queries(const Body& body) const {
    for (const AttentionSequence& s : sequence_) {
      for (std::int64_t head = 0; head < p_.heads_q; ++head) {
        for (std::int64_t i = 0; i < s.seq_q; ++i) body(s, head, i);
      }
    }
  }
  template <typename Body>
  void for_keys(const Body& body) const {
    for (const AttentionSequence& s : sequence_) {
      for (std::int64_t head = 0; head < p_.heads_kv; ++head) {
        for (std::int64_t j = 0; j < s.seq_kv; ++j) body(s, head, j);
      }
    }
  }

  [[nodiscard]] std::vector<std::int64_t> seen_keys(const AttentionSequence& s, std::int64_t head,
                                                    std::int64_t i) {
    std::vector<std::int64_t> keys;
    const KeyRange range = p_.visible(i, s.seq_q, s.seq_kv);
    const auto allowed = p_.has_allowed
                             ? AttentionBroadcast<std::uint8_t>::of(inputs_.at("allowed").view())
                             : AttentionBroadcast<std::uint8_t>{};
    for (std::int64_t j = range.lo; j < range.hi; ++j) {
      if (allowed.data == nullptr || allowed.row(s.b, head, i)[j * allowed.stride_j] != 0) {
        keys.push_back(j);
      }
    }
    return keys;
  }

  void fill(const std::string& name, float value) {
    if (const auto at = inputs_.find(name); at != inputs_.end()) {
      std::ranges::fill(at->second.span<float>(), value);
    }
  }

  // Whole numbers, and in one-byte types the largest code, so that every scale is a power of two.
  void exact_values(const std::string& name, std::int64_t width) {
    if (width == 0) return;
    const std::span<float> values = inputs_.at(name).span<float>();
    fill_distribution("integer", stream_key(draw_, name), values);
    if (size_of(p_.kv_dtype) > 1) return;
    const std::int64_t every = p_.kv_dtype == DType::kS8 ? 1 : 16;
    for_keys([&](const AttentionSequence& s, std::int64_t head, std::int64_t j) {
      if (j % every != 0) return;
      values[s.kv_row(head, j) * width + j % width] = static_cast<float>(code_limit(p_.kv_dtype));
    });
  }

  // Key j has −c at its digits, query i has c everywhere but at the digits of its own key: logit 0
  // there and ≤ −256 at every other.
  void one_hot() {
    if (p_.has_v) exact_values("v", p_.head_dim_v);
    fill("bias", 0);
    fill("alibi_slopes", 0);
    fill("sinks", kNoWeight);
    fill("q", 0);
    fill("k", 0);
    const double size_q = code_limit(p_.q_dtype);
    const double size_k = code_limit(p_.kv_dtype);
    double power = 1;
    while (power * power * size_q * size_k * std::abs(p_.scale) < 256) power *= 2;
    const auto c_q = static_cast<float>(std::copysign(power * size_q, p_.scale));
    const auto c_k = static_cast<float>(-power * size_k);
    const std::int64_t base = p_.head_dim / 2;
    const bool two = base * base > p_.head_dim;
    const auto digits = [&](std::int64_t j) {
      return two ? std::pair{j % base, base + j / base % base}
                 : std::pair{j % p_.head_dim, j % p_.head_dim};
    };
    for_keys([&](const AttentionSequence& s, std::int64_t head, std::int64_t j) {
      const auto [low, high] = digits(j);
      float* k = &inputs_.at("k").span<float>()[s.kv_row(head, j) * p_.head_dim];
      k[low] = k[high] = c_k;
    });
    for_queries([&](const AttentionSequence& s, std::int64_t head, std::int64_t i) {
      const std::vector<std::int64_t> keys = seen_keys(s, head, i);
      if (keys.empty()) return;
      const std::int64_t own = keys[(i * 7 + head * 3 + draw_.content) % keys.size()];
      const auto [low, high] = digits(own);
      float* q = &inputs_.at("q").span<float>()[s.q_row(head, i) * p_.head_dim];
      std::fill_n(q, p_.head_dim, c_q);
      q[low] = q[high] = 0;
    });
  }

  // q = 0: every key that is seen has the same weight.
  void equal_weights() {
    exact_values("k", p_.head_dim);
    if (p_.has_v) exact_values("v", p_.head_dim_v);
    fill("q", 0);
    fill("bias", 0);
    fill("alibi_slopes", 0);
    fill("sinks", kNoWeight);
    if (p_.has_allowed) std::ranges::fill(inputs_.at("allowed").span<std::uint8_t>(), 1);
  }

  // Queries along one key each, in turn at the edges of what they see, one beyond them, and at the
  // borders of tiles.
  void plant() {
    static constexpr std::int64_t kBorders[] = {
        0,   1,   15,  16,  17,  31,  32,  33,  47,  48,  63,  64,  65,  127,  128,  129,
        191, 192, 255, 256, 257, 511, 512, 513, 575, 767, 768, 895, 896, 1023, 1024, 1025};
    // A logit of 12 beside a crowd around 0; q keeps the sign of the scale.
    const double gain = 12 / (p_.scale * static_cast<double>(p_.head_dim));
    if (!std::isfinite(gain)) return;
    for_queries([&](const AttentionSequence& s, std::int64_t head, std::int64_t i) {
      const KeyRange keys = p_.visible(i, s.seq_q, s.seq_kv);
      std::vector<std::int64_t> targets;
      const std::int64_t turn = i + head + draw_.content;
      if (turn % 2 == 0) {
        targets = {keys.hi - 1, keys.hi, keys.lo, keys.lo - 1};
      } else {
        targets.assign(std::begin(kBorders), std::end(kBorders));
      }
      std::erase_if(targets, [&](std::int64_t j) { return j < 0 || j >= s.seq_kv; });
      if (targets.empty()) return;
      const std::int64_t j = targets[turn / 2 % targets.size()];
      const float* k = &inputs_.at("k").span<float>()[s.kv_row(p_.kv_head(head), j) * p_.head_dim];
      float* q = &inputs_.at("q").span<float>()[s.q_row(head, i) * p_.head_dim];
      for (std::int64_t c = 0; c < p_.head_dim; ++c) {
        q[c] = static_cast<float>(gain * k[c] + 0.25 * q[c]);
      }
    });
  }

  // Queries whose elements are mostly subnormal, against keys that bring the logits back to where
  // normal values have them with a scale of 2^20: with q as 0 every key has the same weight.
  void make_subnormal() {
    constexpr int kOfQ = -127;
    constexpr int kOfK = 104;
    for (float& value : inputs_.at("q").span<float>()) value = std::ldexp(value, kOfQ);
    for (float& value : inputs_.at("k").span<float>()) value = std::ldexp(value, kOfK);
  }

  // Tokens that are zero, tiny or huge, and heads that are so as a whole: scales of codes are 0,
  // subnormal, with reciprocals that overflow, or large. The last query head is zero.
  void make_uneven() {
    constexpr float kOfTokensK[] = {1, 0, 1e-39F, 3, 1e-43F};
    constexpr float kOfTokensV[] = {1e-43F, 1, 1e-39F, 0, 1e-20F, 1e-35F, 1e3F};
    constexpr float kOfHeadsK[] = {1, 1e-39F, 1e-43F};
    constexpr float kOfHeadsV[] = {1e-35F, 1e-39F, 1e30F};
    for_keys([&](const AttentionSequence& s, std::int64_t head, std::int64_t j) {
      const bool whole = head % 2 == 1;
      const auto scale = [&](const char* name, std::int64_t width, float factor) {
        float* values = &inputs_.at(name).span<float>()[s.kv_row(head, j) * width];
        for (std::int64_t c = 0; c < width; ++c) values[c] *= factor;
      };
      scale("k", p_.head_dim, whole ? kOfHeadsK[s.b % 3] : kOfTokensK[j % 5]);
      if (p_.has_v) scale("v", p_.head_dim_v, whole ? kOfHeadsV[s.b % 3] : kOfTokensV[j % 7]);
    });
    for_queries([&](const AttentionSequence& s, std::int64_t head, std::int64_t i) {
      if (head + 1 < p_.heads_q) return;
      std::fill_n(&inputs_.at("q").span<float>()[s.q_row(head, i) * p_.head_dim], p_.head_dim,
                  0.0F);
    });
  }

  static float non_finite(std::int64_t i) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const float kinds[] = {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity};
    return kinds[i % 3];
  }

  // Wherever no row looks: keys behind masks, tokens behind the end, unused pages, padding.
  void hide_non_finite() {
    const HostTensor& k = inputs_.at("k");
    const std::int64_t rows = k.elements() / p_.head_dim;
    const Tensor allowed = p_.has_allowed ? inputs_.at("allowed").view() : Tensor{};
    const std::vector<std::uint8_t> seen = attention_seen_rows(p_, shapes_.tables(), allowed, rows);
    for (std::int64_t row = 0; row < rows; ++row) {
      if (seen[row] != 0) continue;
      for (std::int64_t c = 0; c < p_.head_dim; ++c) {
        k.span<float>()[row * p_.head_dim + c] = non_finite(row + c);
      }
      for (std::int64_t c = 0; p_.has_v && c < p_.head_dim_v; ++c) {
        inputs_.at("v").span<float>()[row * p_.head_dim_v + c] = non_finite(row + c);
      }
    }
    if (!p_.ragged_q()) return;
    const std::span<float> q = inputs_.at("q").span<float>();
    for (std::size_t i = shapes_.cu_seqlens_q.back() * p_.heads_q * p_.head_dim; i < q.size();
         ++i) {
      q[i] = std::numeric_limits<float>::quiet_NaN();
    }
  }

  // NaN in one query, an infinite v that some rows see, a row of bias that is −∞ throughout.
  void show_non_finite() {
    for_queries([&](const AttentionSequence& s, std::int64_t head, std::int64_t i) {
      const std::vector<std::int64_t> keys = seen_keys(s, head, i);
      if (i != s.seq_q / 2 || head != 0 || keys.empty()) return;
      inputs_.at("q").span<float>()[s.q_row(head, i) * p_.head_dim] = non_finite(0);
      if (!p_.has_v || p_.head_dim_v == 0) return;
      inputs_.at("v").span<float>()[s.kv_row(0, keys.back()) * p_.head_dim_v] = non_finite(s.b + 1);
    });
    if (!p_.has_bias || p_.seq_kv == 0) return;
    const HostTensor& bias = inputs_.at("bias");
    const std::int64_t rows = bias.elements() / p_.seq_kv;
    std::fill_n(&bias.span<float>()[rows / 3 * p_.seq_kv], p_.seq_kv,
                -std::numeric_limits<float>::infinity());
  }

  AttentionProblem p_;
  const Problem& problem_;
  const Draw& draw_;
  AttentionShapes shapes_;
  std::vector<AttentionSequence> sequence_;
  TensorMap inputs_;
};

}  // namespace

bool one_hot_is_exact(const AttentionProblem& p) {
  if (p.scale == 0) return false;
  // Capped logits reach −softcap at best; 16-bit operands hold at most 2^15.
  return (p.softcap == 0 || p.softcap > 400) && std::abs(p.scale) > 1e-6;
}

std::int64_t one_hot_capacity(std::int64_t head_dim) {
  const std::int64_t base = head_dim / 2;
  return std::max(base * base, head_dim);
}

TensorMap attention_draw(const Problem& problem, const Draw& draw) {
  return Drawing(problem, draw).run();
}

}  // namespace pareto
