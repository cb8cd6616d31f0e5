// Baseline: ggml's fused attention on a KV cache in fp32, bf16, fp16 or Q8_0.
//
// The library takes q in fp32 and returns fp32 with the heads innermost: other types, and more than
// one row of q, cost a conversion on the way in and a transposition on the way out, inside its
// graph. What a mask or a window hides is an fp16 matrix of 0 and −∞, as its users write it. A
// per-token scale of int8 becomes the fp16 scale of every Q8_0 block of that token, ahead of time.
//
// It returns no LSE, which is therefore left unwritten: every case is marked failed ("written: … of
// lse"). The tests compare o alone.
#include <algorithm>
#include <cstring>
#include <memory>

#include "harness/errors.h"
#include "harness/variant.h"
#include "kernels/ggml_library.h"
#include "reference/attention.h"

namespace pareto {
namespace {

constexpr std::uint16_t kMinusInfinityF16 = 0xfc00;
// From that many rows of q on, fp32 and fp16 caches take its tiled kernel, fp32 throughout; below,
// q is rounded to the cache's type and an fp16 V accumulates in fp16.
constexpr std::int64_t kTiledRows = 64;

// One int8 row of K or V as Q8_0 blocks.
void to_q8_0(const std::int8_t* codes, float scale, std::int64_t width, std::byte* out) {
  constexpr std::int64_t kBlock = 32;
  const ggml_fp16_t d = ggml_fp32_to_fp16(scale);
  for (std::int64_t i = 0; i < width; i += kBlock) {
    std::memcpy(out, &d, sizeof d);
    std::memcpy(out + sizeof d, codes + i, kBlock);
    out += sizeof d + kBlock;
  }
}

class GgmlFlashAttn : public Prepared {
 public:
  GgmlFlashAttn(const Problem& problem, std::span<const Tensor> in, ThreadPool& pool)
      : p_(AttentionProblem::from(problem)) {
    const bool int8 = p_.kv_dtype == DType::kS8;
    if (int8 && !p_.decode()) throw CannotRunError("int8 K and V that arrive with each call");
    if (int8 && (p_.head_dim % 32 != 0 || p_.head_dim_v % 32 != 0)) {
      throw CannotRunError("int8 K and V: head_dim and head_dim_v must be multiples of 32");
    }
    const ggml_type kv = int8 ? GGML_TYPE_Q8_0 : ggml_type_of(p_.kv_dtype);
    k_ = graph_.tensor(kv, {p_.head_dim, p_.seq_kv, p_.heads_kv, p_.batch});
    v_ = graph_.tensor(kv, {p_.head_dim_v, p_.seq_kv, p_.heads_kv, p_.batch});
    if (int8) {
      pack(in[kAttentionK], in[kAttentionKScale], graph_.own(k_), pool);
      pack(in[kAttentionV], in[kAttentionVScale], graph_.own(v_), pool);
      packed_bytes_ = ggml_nbytes(k_) + ggml_nbytes(v_);
    }
    if (hides_keys()) make_mask();
    make_graph();
  }

  void run(const Call& call) override {
    q_->data = call.in[kAttentionQ].data;
    if (packed_bytes_ == 0) {
      k_->data = call.in[kAttentionK].data;
      v_->data = call.in[kAttentionV].data;
    }
    if (p_.has_allowed)
      write_mask(AttentionBroadcast<std::uint8_t>::of(call.in[kAttentionAllowed]), call.pool);
    if (p_.has_sinks) sinks_->data = call.in[kAttentionSinks].data;
    o_->data = call.out[kAttentionO].data;
    graph_.run(call.pool.size());
  }

  [[nodiscard]] std::size_t packed_bytes() const override { return packed_bytes_; }

 private:
  void pack(const Tensor& codes, const Tensor& scales, ggml_tensor* out, ThreadPool& pool) const {
    const std::int64_t rows = p_.batch * p_.heads_kv * p_.seq_kv;
    const std::int64_t width = out->ne[0];
    const auto row_bytes = static_cast<std::int64_t>(out->nb[1]);
    pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(rows, thread, threads);
      for (std::int64_t row = begin; row < end; ++row) {
        to_q8_0(codes.as<const std::int8_t>() + row * width, scales.as<const float>()[row], width,
                static_cast<std::byte*>(out->data) + row * row_bytes);
      }
    });
  }

  [[nodiscard]] bool hides_keys() const {
    if (p_.has_allowed) return true;
    for (std::int64_t i = 0; i < p_.seq_q; ++i) {
      if (p_.visible(i, p_.seq_q, p_.seq_kv).size() < p_.seq_kv) return true;
    }
    return false;
  }

  // One matrix for all, or one per head and batch entry where `allowed` may differ.
  void make_mask() {
    const std::int64_t heads = p_.has_allowed ? p_.heads_q : 1;
    const std::int64_t batch = p_.has_allowed ? p_.batch : 1;
    mask_ = graph_.own(graph_.tensor(GGML_TYPE_F16, {p_.seq_kv, p_.seq_q, heads, batch}));
    for (std::int64_t row = 0; row < p_.seq_q * heads * batch; ++row) write_visible(row);
  }

  [[nodiscard]] std::uint16_t* mask_row(std::int64_t row) const {
    return static_cast<std::uint16_t*>(mask_->data) + row * p_.seq_kv;
  }

  void write_visible(std::int64_t row) const {
    const KeyRange range = p_.visible(row % p_.seq_q, p_.seq_q, p_.seq_kv);
    std::uint16_t* out = mask_row(row);
    std::fill_n(out, p_.seq_kv, kMinusInfinityF16);
    std::fill(out + range.lo, out + range.hi, 0);
  }

  void write_mask(const AttentionBroadcast<std::uint8_t>& allowed, ThreadPool& pool) const {
    pool.run([&](int thread, int threads) {
      const auto [begin, end] = share_of(p_.batch * p_.heads_q * p_.seq_q, thread, threads);
      for (std::int64_t row = begin; row < end; ++row) {
        write_visible(row);
        const std::uint8_t* in =
            allowed.row(row / p_.seq_q / p_.heads_q, row / p_.seq_q % p_.heads_q, row % p_.seq_q);
        std::uint16_t* out = mask_row(row);
        for (std::int64_t j = 0; j < p_.seq_kv; ++j) {
          if (in[j * allowed.stride_j] == 0) out[j] = kMinusInfinityF16;
        }
      }
    });
  }

  void make_graph() {
    ggml_context* context = graph_.context();
    q_ = graph_.tensor(ggml_type_of(p_.q_dtype), {p_.head_dim, p_.seq_q, p_.heads_q, p_.batch});
    ggml_tensor* q = q_;
    if (p_.q_dtype != DType::kF32) q = graph_.own(ggml_cast(context, q_, GGML_TYPE_F32));
    ggml_tensor* attention = ggml_flash_attn_ext(
        context, q, k_, v_, mask_, static_cast<float>(p_.scale), 0, static_cast<float>(p_.softcap));
    if (p_.has_sinks) {
      sinks_ = graph_.tensor(GGML_TYPE_F32, {p_.heads_q});
      ggml_flash_attn_ext_add_sinks(attention, sinks_);
    }
    const ggml_type out = ggml_type_of(p_.out_dtype);
    if (p_.seq_q == 1 && out == GGML_TYPE_F32) {
      o_ = attention;  // the order of heads and rows is the same
    } else {
      graph_.own(attention);
      ggml_tensor* target = graph_.tensor(out, {p_.head_dim_v, p_.seq_q, p_.heads_q, p_.batch});
      o_ = ggml_cpy(context, ggml_permute(context, attention, 0, 2, 1, 3), target);
    }
    graph_.build(o_);
  }

  AttentionProblem p_;
  GgmlGraph graph_;
  ggml_tensor* q_ = nullptr;
  ggml_tensor* k_ = nullptr;
  ggml_tensor* v_ = nullptr;
  ggml_tensor* mask_ = nullptr;
  ggml_tensor* sinks_ = nullptr;
  ggml_tensor* o_ = nullptr;
  std::size_t packed_bytes_ = 0;  // 0: K and V are read where they lie
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> in,
                                  ThreadPool& pool) {
  return std::make_unique<GgmlFlashAttn>(problem, in, pool);
}

Arithmetic arithmetic(const Problem& problem) {
  const AttentionProblem p = AttentionProblem::from(problem);
  Arithmetic a;
  a.u_exp = 0x1p-21;
  a.kv_block = 64;
  a.leaks_nonfinite = true;
  if (p.seq_q >= kTiledRows) return a;
  a.kv_block = 1;
  // q is quantized to blocks of 32 codes for a Q8_0 cache: nothing that a unit can describe.
  if (p.q_dtype == DType::kF32 && p.kv_dtype == DType::kF16) a.u_q_inner = kUFp16;
  if (p.q_dtype == DType::kF32 && p.kv_dtype == DType::kBf16) a.u_q_inner = kUBf16;
  if (p.kv_dtype == DType::kF16) {
    a.u_acc = kUFp16;
    a.p_underflow = 0x1p-25;
  }
  return a;
}

const Registration registration{{
    .op = "attention",
    .name = "ggml_flash_attn",
    .summary = "ggml_flash_attn_ext, KV in fp32, bf16, fp16 or Q8_0; no LSE (marked failed)",
    .limits = {{.key = "layout", .values = {"dense"}},
               {.key = "dtype", .values = {"fp32", "bf16", "fp16"}},
               {.key = "kv_dtype", .values = {"same", "bf16", "fp16", "int8"}},
               {.key = "v", .values = {"given"}},
               {.key = "bias", .values = {"none"}},
               {.key = "alibi", .values = {"none"}},
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
    .library = GgmlGraph::name(),
}};

}  // namespace
}  // namespace pareto
