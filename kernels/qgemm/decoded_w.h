// W of a compressed scheme, decoded to fp32 ahead of time: what it costs to be rid of a scheme.
#pragma once

#include <span>

#include "harness/aligned_buffer.h"
#include "harness/arithmetic.h"
#include "harness/tensor.h"
#include "harness/thread_pool.h"
#include "reference/qgemm.h"
#include "reference/qgemm_operands.h"

namespace pareto {

/// [N, K], as the scheme's values are defined.
inline AlignedBuffer<float> decoded_w(const QgemmProblem& p, std::span<const Tensor> in,
                                      ThreadPool& pool) {
  AlignedBuffer<float> w(p.N * p.K);
  pool.run([&](int thread, int threads) {
    const auto [begin, end] = share_of(p.N, thread, threads);
    for (std::int64_t n = begin; n < end; ++n) dequantize_row(p, in, n, w.data() + n * p.K);
  });
  return w;
}

/// Codes times a scale of 24 bits do not fit into fp32; those times one of 11 bits or a power of
/// two do.
inline bool decoding_rounds(WKind kind) {
  return kind == WKind::kS8 || kind == WKind::kQ4kBlock || kind == WKind::kNf4 ||
         kind == WKind::kNvfp4 || kind == WKind::kFp8Row || kind == WKind::kFp8Block;
}

/// What operands lose that are multiplied as decoded to fp32 (Arithmetic::u_operand): quantized x
/// is rounded once more, except where its scales are powers of two.
inline double decoding_error(const QgemmProblem& p) {
  const bool rounds_x = p.x_kind != XKind::kFloat && p.x_kind != XKind::kMxfp8;
  return kU32 * ((decoding_rounds(p.w_kind) ? 1 : 0) + (rounds_x ? 1 : 0));
}

}  // namespace pareto
