// Baseline: attention as three calls of oneDNN with the whole score matrix in between, the way it
// was done before fused kernels: S = scale·Q·Kᵀ, P = softmax(S), O = P·V.
//
// Query heads that share a KV head stand below one another in q, so that a group is one matrix of
// group·seq_q rows. KV heads go through in parts whose S stays below 256 MiB. The library has no
// masked softmax and no LSE: a pass over S writes −∞ and finds each row's maximum, and the LSE is
// that maximum less the logarithm of its probability.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>

#include "harness/errors.h"
#include "harness/variant.h"
#include "kernels/onednn_library.h"
#include "reference/attention.h"

namespace pareto {
namespace {

constexpr std::int64_t kMostScoreBytes = std::int64_t{256} << 20;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// Index of the largest element; 0 if there is none but NaN.
std::int64_t index_of_maximum(const float* row, std::int64_t count) {
  constexpr int kLanes = 16;
  float lane[kLanes];
  std::fill_n(lane, kLanes, kMinusInfinity);
  std::int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    for (int i = 0; i < kLanes; ++i) lane[i] = row[j + i] > lane[i] ? row[j + i] : lane[i];
  }
  for (int i = 0; j < count; ++j, ++i) lane[i] = row[j] > lane[i] ? row[j] : lane[i];
  const float largest = *std::max_element(lane, lane + kLanes);
  const float* found = std::find(row, row + count, largest);
  return found == row + count ? 0 : found - row;
}

/// Nearest bf16 of a probability, ties to even; NaN stays NaN.
std::uint16_t bf16_of(float p) {
  const auto bits = std::bit_cast<std::uint32_t>(p);
  const std::uint32_t rounded = bits + 0x7fffU + ((bits >> 16U) & 1U);
  return static_cast<std::uint16_t>((p != p ? bits : rounded) >> 16U);
}

class OneDnnUnfused : public Prepared {
 public:
  OneDnnUnfused(const Problem& problem, int threads) : p_(AttentionProblem::from(problem)) {
    if (p_.softcap != 0) throw CannotRunError("softcap: not between a matmul and a softmax");
    OneDnn::use_threads(threads);
    rows_ = p_.group() * p_.seq_q;
    slices_ = p_.batch * p_.heads_kv;
    part_ = part_of(slices_, rows_ * p_.seq_kv * 4);
    s_ = AlignedBuffer<float>(part_ * rows_ * p_.seq_kv);
    maximum_ = AlignedBuffer<float>(part_ * rows_);
    place_ = AlignedBuffer<std::int64_t>(part_ * rows_);
    if (bf16()) p_bf16_ = AlignedBuffer<std::uint16_t>(s_.size());
    make_primitives();
  }

  void run(const Call& call) override {
    OneDnn::use_threads(call.pool.size());
    for (std::int64_t slice = 0; slice < slices_; slice += part_) {
      scores_.set(DNNL_ARG_SRC, part(call.in[kAttentionQ], slice));
      scores_.set(DNNL_ARG_WEIGHTS, part(call.in[kAttentionK], slice));
      scores_.run();
      onednn_for(part_ * rows_, [&](std::int64_t row) { mask(row); });
      softmax_.run();
      float* lse = call.out[kAttentionLse].as<float>() + slice * rows_;
      onednn_for(part_ * rows_, [&](std::int64_t row) { finish(row, lse); });
      values_.set(DNNL_ARG_WEIGHTS, part(call.in[kAttentionV], slice));
      values_.set(DNNL_ARG_DST, part(call.out[kAttentionO], slice));
      values_.run();
    }
  }

 private:
  [[nodiscard]] bool bf16() const { return p_.q_dtype == DType::kBf16; }

  // Largest divisor of `slices` whose scores stay below the limit; 1 if one slice is above it.
  static std::int64_t part_of(std::int64_t slices, std::int64_t slice_bytes) {
    std::int64_t best = 1;
    for (std::int64_t part = 2; part <= slices; ++part) {
      if (slices % part == 0 && part * slice_bytes <= kMostScoreBytes) best = part;
    }
    return best;
  }

  // Where a KV head's share of q, k, v or o begins.
  [[nodiscard]] std::byte* part(const Tensor& tensor, std::int64_t slice) const {
    return tensor.data + slice * (static_cast<std::int64_t>(tensor.bytes()) / slices_);
  }

  void make_primitives() {
    using Desc = dnnl::memory::desc;
    using Tag = dnnl::memory::format_tag;
    using Type = dnnl::memory::data_type;
    const Type type = onednn_type(p_.q_dtype);
    const Desc q({part_, rows_, p_.head_dim}, type, Tag::abc);
    const Desc k({part_, p_.head_dim, p_.seq_kv}, type, Tag::acb);
    const Desc s({part_, rows_, p_.seq_kv}, Type::f32, Tag::abc);
    const Desc p({part_, rows_, p_.seq_kv}, type, Tag::abc);
    const Desc v({part_, p_.seq_kv, p_.head_dim_v}, type, Tag::abc);
    const Desc o({part_, rows_, p_.head_dim_v}, type, Tag::abc);

    dnnl::primitive_attr scaled = OneDnnPrimitive::attributes();
    scaled.set_output_scales(0, {static_cast<float>(p_.scale)});
    scores_.make<dnnl::matmul>(dnnl::matmul::desc(q, k, s), scaled);
    scores_.add(DNNL_ARG_SRC, q, nullptr);
    scores_.add(DNNL_ARG_WEIGHTS, k, nullptr);
    scores_.add(DNNL_ARG_DST, s, s_.data());

    const dnnl::softmax_forward::desc soft(dnnl::prop_kind::forward_inference, s, 2);
    softmax_.make<dnnl::softmax_forward>(soft, OneDnnPrimitive::attributes());
    softmax_.add(DNNL_ARG_SRC, s, s_.data());
    softmax_.add(DNNL_ARG_DST, s, s_.data());

    values_.make<dnnl::matmul>(dnnl::matmul::desc(p, v, o), OneDnnPrimitive::attributes());
    values_.add(DNNL_ARG_SRC, p,
                bf16() ? static_cast<void*>(p_bf16_.data()) : static_cast<void*>(s_.data()));
    values_.add(DNNL_ARG_WEIGHTS, v, nullptr);
    values_.add(DNNL_ARG_DST, o, nullptr);
  }

  // Hides what the mask hides, and notes the maximum. A row without a key keeps −∞ as its maximum
  // and zeros as its logits, so that the softmax has something finite to do.
  void mask(std::int64_t row) {
    float* s = s_.data() + row * p_.seq_kv;
    const KeyRange range = p_.visible(row % p_.seq_q, p_.seq_q, p_.seq_kv);
    std::fill_n(s, range.lo, kMinusInfinity);
    std::fill(s + range.hi, s + p_.seq_kv, kMinusInfinity);
    place_[row] = range.lo + index_of_maximum(s + range.lo, range.size());
    maximum_[row] = range.size() == 0 ? kMinusInfinity : s[place_[row]];
    if (maximum_[row] == kMinusInfinity) std::fill_n(s, p_.seq_kv, 0.0F);
  }

  void finish(std::int64_t row, float* lse) {
    float* p = s_.data() + row * p_.seq_kv;
    if (maximum_[row] == kMinusInfinity) {
      lse[row] = kMinusInfinity;
      std::fill_n(p, p_.seq_kv, 0.0F);
    } else {
      lse[row] = maximum_[row] - std::log(p[place_[row]]);
    }
    if (!bf16()) return;
    std::uint16_t* rounded = p_bf16_.data() + row * p_.seq_kv;
    for (std::int64_t j = 0; j < p_.seq_kv; ++j) rounded[j] = bf16_of(p[j]);
  }

  AttentionProblem p_;
  std::int64_t rows_ = 0;    // of q under one KV head
  std::int64_t slices_ = 0;  // KV heads of the whole batch
  std::int64_t part_ = 0;    // of them at once
  AlignedBuffer<float> s_;   // [part, rows, seq_kv], then P
  AlignedBuffer<std::uint16_t> p_bf16_;
  AlignedBuffer<float> maximum_;
  AlignedBuffer<std::int64_t> place_;
  OneDnnPrimitive scores_;
  OneDnnPrimitive softmax_;
  OneDnnPrimitive values_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& pool) {
  return std::make_unique<OneDnnUnfused>(problem, pool.size());
}

// The library does not state the error of its exponential (a polynomial of degree 5, as exact as
// fp32 gets: about 2 units); what underflows below the smallest normal number is 0 there.
Arithmetic arithmetic(const Problem& problem) {
  const AttentionProblem p = AttentionProblem::from(problem);
  Arithmetic a;
  a.u_exp = 0x1p-21;
  a.p_underflow = 0x1p-126;
  a.leaks_nonfinite = true;  // 0 · NaN of masked keys
  if (p.q_dtype == DType::kBf16) {
    a.u_p = kUBf16;
    a.flushes_subnormals = true;
  }
  return a;
}

const Registration registration{{
    .op = "attention",
    .name = "onednn_unfused",
    .summary = "oneDNN matmul, softmax, matmul with the whole score matrix in between",
    .limits = {{.key = "layout", .values = {"dense"}},
               {.key = "dtype", .values = {"fp32", "bf16"}},
               {.key = "kv_dtype", .values = {"same"}},
               {.key = "out_dtype", .values = {"same"}},
               {.key = "mask", .values = {"none", "causal"}},
               {.key = "window_left", .max = -1},
               {.key = "window_right", .max = -1},
               {.key = "v", .values = {"given"}},
               {.key = "bias", .values = {"none"}},
               {.key = "allowed", .values = {"none"}},
               {.key = "alibi", .values = {"none"}},
               {.key = "sinks", .values = {"none"}},
               {.key = "batch", .min = 1},
               {.key = "heads_q", .min = 1},
               {.key = "heads_kv", .min = 1},
               {.key = "seq_q", .min = 1},
               {.key = "seq_kv", .min = 1},
               {.key = "head_dim_v", .min = 1}},
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .own_threads = true,
    .unit = "fma_fp32",
    .library = OneDnn::name(),
}};

}  // namespace
}  // namespace pareto
