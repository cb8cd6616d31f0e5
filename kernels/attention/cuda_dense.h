// What attention on CUDA declares where the layout is dense and nothing but causal masks is taken:
// kernels of ours and libraries alike.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "harness/variant.h"
#include "reference/attention.h"

namespace pareto {

/// Limits of a kernel that knows neither windows, biases, sinks nor quantized K and V, after its
/// `own` ones.
inline std::vector<Limit> cuda_dense_limits(std::vector<Limit> own) {
  own.push_back({.key = "window_left", .max = -1});
  own.push_back({.key = "window_right", .max = -1});
  const std::pair<const char*, const char*> words[] = {
      {"layout", "dense"}, {"kv_dtype", "same"}, {"out_dtype", "same"}, {"v", "given"},
      {"bias", "none"},    {"allowed", "none"},  {"alibi", "none"},     {"sinks", "none"}};
  for (const auto& [key, word] : words) own.push_back({.key = key, .values = {word}});
  return own;
}

/// The same of kernels of ours on tensor cores: 16 bits, one head size of 64 or 128.
inline std::vector<Limit> cuda_tile_limits(std::vector<Limit> own) {
  own.push_back({.key = "dtype", .values = {"bf16", "fp16"}});
  own.push_back({.key = "head_dim", .min = 64, .max = 128, .multiple_of = 64});
  own.push_back({.key = "head_dim_v", .min = 64, .max = 128, .multiple_of = 64});
  return cuda_dense_limits(std::move(own));
}

/// "" or why those do not take a problem within their limits.
inline std::string cuda_tile_declines(const AttentionProblem& p) {
  if (p.softcap != 0) return "softcap: none here";
  if (p.head_dim != p.head_dim_v) return "head_dim_v: that of q and k alone";
  return "";
}

/// Tensor cores sum the 16 products of one step and the accumulator at once, and cut off; P is
/// rounded to the type of V, the row sum adds it before. `bf16_underflow`: largest weight that
/// becomes 0 in bf16.
inline Arithmetic tensor_core_attention(const Problem& problem, std::int64_t kv_block,
                                        double bf16_underflow) {
  Arithmetic a;
  a.u_acc = 0x1p-23;
  a.acc_truncates = true;
  a.acc_block = 16;
  a.kv_block = kv_block;
  const bool bf16 = AttentionProblem::from(problem).q_dtype == DType::kBf16;
  a.u_p = bf16 ? kUBf16 : kUFp16;
  a.p_underflow = bf16 ? bf16_underflow : 0x1p-25;  // half of fp16's smallest subnormal number
  a.leaks_nonfinite = true;
  return a;
}

/// Of kernels of ours, whose 2^x flushes subnormal results.
inline constexpr double kFlushedWeight = 0x1p-126;

}  // namespace pareto
