// Portable attention that takes every type, layout, mask and option.
//
// Idea: online softmax over blocks of 64 keys for 16 queries at a time. Queries of one KV head are
// packed together, all its query heads side by side, so that in decode every key is decoded once
// per group. K is decoded transposed, V as it is, both to fp32; two register tiles of 4 rows × 8
// columns multiply, which compilers vectorize with whatever the baseline has.
// Bottleneck: the multiply-adds of the baseline's vectors (SSE2 without FMA on x86-64).
// Layout: operands as given; per thread 64·(d + d_v) floats of K and V, 16 rows of q, o and logits.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "harness/variant.h"
#include "kernels/attention/exp_portable.h"
#include "kernels/attention/logit_options.h"
#include "kernels/attention/operand_rows.h"
#include "reference/attention.h"
#include "reference/number_formats.h"

namespace pareto {
namespace {

constexpr std::int64_t kRows = 16;
constexpr std::int64_t kKeys = 64;
constexpr std::int64_t kColumns = 8;
constexpr std::int64_t kRowTile = 4;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}

// C[R, columns] += A[R, depth] · B[depth, columns]; columns a multiple of 8.
template <int R>
void multiply_rows(const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
                   std::int64_t depth, std::int64_t columns, float* c, std::int64_t ldc) {
  for (std::int64_t at = 0; at < columns; at += kColumns) {
    float sum[R][kColumns];
    for (int r = 0; r < R; ++r) std::memcpy(sum[r], c + r * ldc + at, sizeof(sum[r]));
    for (std::int64_t k = 0; k < depth; ++k) {
      for (int r = 0; r < R; ++r) {
        for (int j = 0; j < kColumns; ++j) sum[r][j] += a[r * lda + k] * b[k * ldb + at + j];
      }
    }
    for (int r = 0; r < R; ++r) std::memcpy(c + r * ldc + at, sum[r], sizeof(sum[r]));
  }
}

void multiply(std::int64_t rows, const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
              std::int64_t depth, std::int64_t columns, float* c, std::int64_t ldc) {
  std::int64_t r = 0;
  for (; r + kRowTile <= rows; r += kRowTile) {
    multiply_rows<kRowTile>(a + r * lda, lda, b, ldb, depth, columns, c + r * ldc, ldc);
  }
  for (; r < rows; ++r)
    multiply_rows<1>(a + r * lda, lda, b, ldb, depth, columns, c + r * ldc, ldc);
}

float scale_at(const Tensor& scales, std::int64_t at) {
  return scales.present() ? scales.as<const float>()[at] : 1.0F;
}

/// One query of a tile.
struct Query {
  std::int64_t head = 0;
  std::int64_t i = 0;
  std::int64_t row = 0;
  KeyRange range;
  float max = kMinusInfinity;
  float sum = 0;
};

/// Workspace of one thread.
struct Scratch {
  Scratch(std::int64_t d, std::int64_t d_v)
      : q(kRows * d), k(d * kKeys), line(d), v(kKeys * d_v), s(kRows * kKeys), o(kRows * d_v) {}
  AlignedBuffer<float> q;     ///< [16, d], scaled
  AlignedBuffer<float> k;     ///< [d, 64]
  AlignedBuffer<float> line;  ///< [d]
  AlignedBuffer<float> v;     ///< [64, d_v rounded up]
  AlignedBuffer<float> s;     ///< [16, 64] logits, then weights
  AlignedBuffer<float> o;     ///< [16, d_v rounded up]
};

/// Up to 16 queries of one sequence and KV head against all their keys.
class Tile {
 public:
  Tile(const AttentionProblem& p, const Call& call, const LogitOptions& options,
       const AttentionSequence& s, std::int64_t head_kv, Scratch& scratch)
      : p_(p),
        call_(call),
        options_(options),
        s_(s),
        head_kv_(head_kv),
        width_(round_up(p.head_dim_v, kColumns)),
        w_(scratch) {}

  void run(std::int64_t first, std::int64_t count) {
    count_ = count;
    KeyRange all{std::numeric_limits<std::int64_t>::max(), 0};
    for (std::int64_t r = 0; r < count; ++r) {
      Query& query = query_[r] = {};
      query.head = head_kv_ * p_.group() + (first + r) / s_.seq_q;
      query.i = (first + r) % s_.seq_q;
      query.row = s_.q_row(query.head, query.i);
      query.range = p_.visible(query.i, s_.seq_q, s_.seq_kv);
      if (query.range.size() > 0) {
        all = {std::min(all.lo, query.range.lo), std::max(all.hi, query.range.hi)};
      }
      load_query(r);
    }
    std::fill_n(w_.o.data(), count * width_, 0.0F);
    for (std::int64_t j = all.lo; j < all.hi; j += kKeys) block(j, std::min(kKeys, all.hi - j));
    for (std::int64_t r = 0; r < count; ++r) finish(r);
  }

 private:
  void load_query(std::int64_t r) {
    const float scale =
        scale_at(call_.in[kAttentionQScale], q_scale_index(p_, s_.b, query_[r].head));
    decode_elements(call_.in[kAttentionQ], query_[r].row * p_.head_dim, p_.head_dim, scale,
                    w_.q.data() + r * p_.head_dim);
  }

  // Decodes `count` keys from j on; false if a value of v is not finite.
  bool load_keys(std::int64_t j, std::int64_t count) {
    const Tensor& v = call_.in[p_.has_v ? kAttentionV : kAttentionK];
    const Tensor& k_scale = call_.in[kAttentionKScale];
    const Tensor& v_scale = call_.in[p_.has_v ? kAttentionVScale : kAttentionKScale];
    const std::int64_t v_row = p_.has_v ? p_.head_dim_v : p_.head_dim;
    float check = 0;
    for (std::int64_t n = 0; n < count; ++n) {
      const std::int64_t row = s_.kv_row(head_kv_, j + n);
      const std::int64_t at = p_.kv_dtype == DType::kS8 ? row : kv_scale_index(p_, s_.b, head_kv_);
      decode_elements(call_.in[kAttentionK], row * p_.head_dim, p_.head_dim, scale_at(k_scale, at),
                      w_.line.data());
      for (std::int64_t c = 0; c < p_.head_dim; ++c) w_.k[c * kKeys + n] = w_.line[c];
      float* line = w_.v.data() + n * width_;
      decode_elements(v, row * v_row, p_.head_dim_v, scale_at(v_scale, at), line);
      for (std::int64_t c = 0; c < p_.head_dim_v; ++c) check += line[c] * 0.0F;
    }
    return check == 0;
  }

  void block(std::int64_t j, std::int64_t count) {
    const bool finite = load_keys(j, count);
    std::fill_n(w_.s.data(), count_ * kKeys, 0.0F);
    multiply(count_, w_.q.data(), p_.head_dim, w_.k.data(), kKeys, p_.head_dim,
             round_up(count, kColumns), w_.s.data(), kKeys);
    for (std::int64_t r = 0; r < count_; ++r) weigh(r, j, count);
    if (finite) {
      multiply(count_, w_.s.data(), kKeys, w_.v.data(), width_, count, width_, w_.o.data(), width_);
    } else {
      add_seen_values(j, count);
    }
  }

  // Logits of one query to weights; rescales what it has summed up so far.
  void weigh(std::int64_t r, std::int64_t j, std::int64_t count) {
    Query& query = query_[r];
    float* s = w_.s.data() + r * kKeys;
    const auto scale = static_cast<float>(p_.scale);
    for (std::int64_t n = 0; n < count; ++n) s[n] *= scale;
    options_.apply(s_, query.head, query.i, query.range, j, count, s);
    float max = query.max;
    for (std::int64_t n = 0; n < count; ++n) max = s[n] > max || s[n] != s[n] ? s[n] : max;
    if (max == kMinusInfinity) {
      std::fill_n(s, count, 0.0F);
      return;
    }
    rescale(r, max);
    for (std::int64_t n = 0; n < count; ++n) s[n] = exp_portable(s[n] - max);
    float sum = 0;  // of its own: light weights would vanish one by one beside a heavy sum
    for (std::int64_t n = 0; n < count; ++n) sum += s[n];
    query.sum += sum;
  }

  void rescale(std::int64_t r, float max) {
    Query& query = query_[r];
    if (query.max == max) return;
    const float factor = query.max == kMinusInfinity ? 0.0F : exp_portable(query.max - max);
    query.max = max;
    query.sum *= factor;
    float* o = w_.o.data() + r * width_;
    for (std::int64_t c = 0; c < width_; ++c) o[c] *= factor;
  }

  // A non-finite v times the weight 0 of a hidden key would be NaN.
  void add_seen_values(std::int64_t j, std::int64_t count) {
    for (std::int64_t r = 0; r < count_; ++r) {
      const Query& query = query_[r];
      for (std::int64_t n = 0; n < count; ++n) {
        if (!options_.sees(s_, query.head, query.i, query.range, j + n)) continue;
        const float weight = w_.s[r * kKeys + n];
        const float* v = w_.v.data() + n * width_;
        for (std::int64_t c = 0; c < p_.head_dim_v; ++c) w_.o[r * width_ + c] += weight * v[c];
      }
    }
  }

  void finish(std::int64_t r) {
    Query& query = query_[r];
    const float sink = options_.sink(query.head);
    const bool empty = query.max == kMinusInfinity && sink == sink;
    if (sink > query.max || sink != sink) rescale(r, sink);
    if (query.max > kMinusInfinity || query.max != query.max) {
      query.sum += exp_portable(sink - query.max);
    }
    float* o = w_.o.data() + r * width_;
    for (std::int64_t c = 0; c < p_.head_dim_v; ++c) o[c] = empty ? 0.0F : o[c] / query.sum;
    store(query.row * p_.head_dim_v, o);
    call_.out[kAttentionLse].as<float>()[query.row] =
        empty ? sink : query.max + std::log(query.sum);
  }

  void store(std::int64_t first, const float* o) {
    const Tensor& out = call_.out[kAttentionO];
    if (out.dtype == DType::kF32) {
      std::copy_n(o, p_.head_dim_v, out.as<float>() + first);
      return;
    }
    for (std::int64_t c = 0; c < p_.head_dim_v; ++c) store_rounded(out, first + c, o[c]);
  }

  const AttentionProblem& p_;
  const Call& call_;
  const LogitOptions& options_;
  const AttentionSequence& s_;
  std::int64_t head_kv_;
  std::int64_t width_;
  Scratch& w_;
  std::int64_t count_ = 0;
  Query query_[kRows];
};

class ScalarAttention : public Prepared {
 public:
  ScalarAttention(const Problem& problem, int threads) : p_(AttentionProblem::from(problem)) {
    for (int i = 0; i < threads; ++i) {
      scratch_.emplace_back(p_.head_dim, round_up(p_.head_dim_v, kColumns));
    }
  }

  void run(const Call& call) override {
    const AttentionTables tables = AttentionTables::from(call.in);
    const LogitOptions options(p_, call.in);
    std::atomic<std::int64_t> next{0};
    call.pool.run([&](int thread, int) {
      std::int64_t mine = next.fetch_add(1);
      std::int64_t task = 0;
      for (std::int64_t b = 0; b < p_.batch; ++b) {
        const AttentionSequence s = AttentionSequence::of(p_, tables, b);
        const std::int64_t rows = p_.group() * s.seq_q;
        for (std::int64_t head = 0; head < p_.heads_kv; ++head) {
          for (std::int64_t first = 0; first < rows; first += kRows, ++task) {
            if (task != mine) continue;
            Tile tile(p_, call, options, s, head, scratch_[thread]);
            tile.run(first, std::min(kRows, rows - first));
            mine = next.fetch_add(1);
          }
        }
      }
    });
    clear_uncovered(call, tables);
  }

 private:
  void clear_uncovered(const Call& call, const AttentionTables& tables) const {
    const KeyRange rows = uncovered_q_rows(p_, tables, call.out[kAttentionLse]);
    for (std::int64_t row = rows.lo; row < rows.hi; ++row) {
      call.out[kAttentionLse].as<float>()[row] = kMinusInfinity;
      for (std::int64_t c = 0; c < p_.head_dim_v; ++c) {
        store_rounded(call.out[kAttentionO], row * p_.head_dim_v + c, 0);
      }
    }
  }

  AttentionProblem p_;
  std::vector<Scratch> scratch_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& pool) {
  return std::make_unique<ScalarAttention>(problem, pool.size());
}

Arithmetic arithmetic(const Problem& /*problem*/) {
  Arithmetic a;
  a.kv_block = kKeys;
  a.u_exp = 0x1p-22;
  a.u_tanh = 0x1p-22;  // the C library's tanhf
  return a;
}

const Registration registration{{
    .op = "attention",
    .name = "scalar",
    .summary = "portable: every type, layout, mask and option; fp32 online softmax, 16 × 64 tiles",
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .unit = "fma_fp32",
}};

}  // namespace
}  // namespace pareto
