// Operands to try kernels on in `prepare`, before there are any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "harness/device_buffer.h"
#include "harness/variant.h"
#include "reference/attention.h"

namespace pareto {

/// Where one call's operands in layout dense, all of 16 bits, and its outputs are.
struct AttentionPointers {
  const std::uint16_t* q = nullptr;
  const std::uint16_t* k = nullptr;
  const std::uint16_t* v = nullptr;
  std::uint16_t* o = nullptr;
  float* lse = nullptr;

  static AttentionPointers of(const Call& call) {
    return {call.in[kAttentionQ].as<const std::uint16_t>(),
            call.in[kAttentionK].as<const std::uint16_t>(),
            call.in[kAttentionV].as<const std::uint16_t>(),
            call.out[kAttentionO].as<std::uint16_t>(), call.out[kAttentionLse].as<float>()};
  }
};

/// Operands of zeros, and outputs, of a problem's sizes; head_dim_v is head_dim.
class AttentionTrial {
 public:
  explicit AttentionTrial(const AttentionProblem& p)
      : q_(q_elements(p)),
        k_(k_elements(p)),
        v_(k_elements(p)),
        o_(q_elements(p)),
        lse_(q_elements(p) / p.head_dim) {
    for (const DeviceBuffer<std::uint16_t>* buffer : {&q_, &k_, &v_}) {
      device().fill(buffer->data(), 0, buffer->bytes());
    }
  }
  [[nodiscard]] AttentionPointers pointers() const {
    return {q_.data(), k_.data(), v_.data(), o_.data(), lse_.data()};
  }
  /// Whether there is something to try, in at most 1 GiB of memory.
  static bool fits(const AttentionProblem& p) {
    constexpr std::int64_t kMost = std::int64_t{1} << 30;
    const std::int64_t bytes = 4 * (q_elements(p) + k_elements(p));
    return q_elements(p) > 0 && k_elements(p) > 0 && bytes <= kMost;
  }
  /// What the speed of a kernel depends on.
  static std::string key(const char* kernel, const AttentionProblem& p) {
    std::string text = kernel;
    for (const std::int64_t size :
         {p.batch, p.heads_q, p.heads_kv, p.seq_q, p.seq_kv, p.head_dim,
          std::int64_t{static_cast<int>(p.q_dtype)}, std::int64_t{static_cast<int>(p.mask)}}) {
      text += " " + std::to_string(size);
    }
    return text;
  }

 private:
  static std::int64_t q_elements(const AttentionProblem& p) {
    return p.batch * p.heads_q * p.seq_q * p.head_dim;
  }
  static std::int64_t k_elements(const AttentionProblem& p) {
    return p.batch * p.heads_kv * p.seq_kv * p.head_dim;
  }

  DeviceBuffer<std::uint16_t> q_;
  DeviceBuffer<std::uint16_t> k_;
  DeviceBuffer<std::uint16_t> v_;
  DeviceBuffer<std::uint16_t> o_;
  DeviceBuffer<float> lse_;
};

}  // namespace pareto
