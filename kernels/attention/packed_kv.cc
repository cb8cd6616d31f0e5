#include "kernels/attention/packed_kv.h"

#include "kernels/attention/finite_code.h"

namespace pareto {
namespace {

template <typename Code>
Code code_at(const KvRows& rows, std::int64_t j, std::int64_t c) {
  return reinterpret_cast<const Code*>(rows.data)[rows.element(j) + c];
}

template <typename Code>
void pack_k_codes(const KvRows& rows, const KvLayout& layout, Code* out) {
  for (std::int64_t j = 0; j < rows.sequence.seq_kv; ++j) {
    Code* panel = out + j / layout.panel * layout.k_panel_size();
    for (std::int64_t c = 0; c < rows.count; ++c) {
      const std::int64_t step = c / layout.pair * layout.k_stride + j % layout.panel;
      panel[step * layout.pair + c % layout.pair] = code_at<Code>(rows, j, c);
    }
  }
}

template <typename Code>
void pack_v_codes(const KvRows& rows, const KvLayout& layout, Code* out, std::uint8_t* non_finite) {
  for (std::int64_t j = 0; j < rows.sequence.seq_kv; ++j) {
    for (std::int64_t c = 0; c < rows.count; ++c) {
      const Code code = code_at<Code>(rows, j, c);
      const std::int64_t step = layout.v_at(c / layout.panel, j / layout.pair * layout.pair) +
                                c % layout.panel * layout.pair;
      out[step + j % layout.pair] = code;
      if (!is_finite_code(code, rows.dtype)) non_finite[j / layout.panel] = 1;
    }
  }
}

template <typename Code>
void pack_head(const KvRows& k, const KvRows& v, std::int64_t head, PackedKv& packed) {
  pack_k_codes(k, packed.layout(), reinterpret_cast<Code*>(packed.k(head)));
  pack_v_codes(v, packed.layout(), reinterpret_cast<Code*>(packed.v(head)),
               packed.non_finite(head));
}

}  // namespace

PackedKv::PackedKv(const AttentionProblem& p, const KvLayout& layout, std::int64_t element_bytes)
    : layout_(layout), element_bytes_(element_bytes), heads_kv_(p.heads_kv) {
  const std::int64_t heads = p.batch * p.heads_kv;
  k_ = AlignedBuffer<std::byte>(heads * layout.k_size() * element_bytes);
  v_ = AlignedBuffer<std::byte>(heads * layout.v_size() * element_bytes);
  non_finite_ = AlignedBuffer<std::uint8_t>(heads * layout.k_panels);
  head_scales_ = AlignedBuffer<KvHeadScales>(heads);
  if (p.kv_dtype != DType::kS8) return;
  k_scale_ = AlignedBuffer<float>(heads * layout.keys);
  v_scale_ = AlignedBuffer<float>(heads * layout.keys);
}

void PackedKv::pack_as_stored(const AttentionProblem& p, std::span<const Tensor> in,
                              ThreadPool& pool) {
  const CacheOperands cache(p, in);
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(p.batch * p.heads_kv, thread, threads);
    for (std::int64_t at = begin; at < end; ++at) {
      const std::int64_t head_kv = at % p.heads_kv;
      const AttentionSequence s = cache.sequence(at / p.heads_kv);
      const KvRows k = KvRows::of_k(p, in, s, head_kv);
      const KvRows v = KvRows::of_v(p, in, s, head_kv);
      switch (size_of(p.kv_dtype)) {
        case 4:
          pack_head<std::uint32_t>(k, v, at, *this);
          break;
        case 2:
          pack_head<std::uint16_t>(k, v, at, *this);
          break;
        default:
          pack_head<std::uint8_t>(k, v, at, *this);
      }
      head_scales_[at] = KvHeadScales::of(p, in, s.b, head_kv);
      take_scales(p, in, s, head_kv);
    }
  });
}

void PackedKv::take_scales(const AttentionProblem& p, std::span<const Tensor> in,
                           const AttentionSequence& sequence, std::int64_t head_kv) {
  const KvTokenScales scales = KvTokenScales::of(p, in);
  if (scales.k == nullptr) return;
  const std::int64_t at = head(sequence.b, head_kv);
  for (std::int64_t j = 0; j < sequence.seq_kv; ++j) {
    const std::int64_t row = sequence.kv_row(head_kv, j);
    k_scale(at)[j] = scales.k[row];
    v_scale(at)[j] = scales.v[row];
  }
}

}  // namespace pareto
