// Rows of q, K and V as the fp32 words of the register tiles, with AVX2; a function per type, since
// a choice for every 8 elements would take longer than to move them.
//
// Included inside a `#pragma GCC target` region.
#pragma once

#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "kernels/attention/decode_pages.h"
#include "kernels/attention/kv_rows.h"
#include "kernels/attention/lanes_avx2.h"

namespace pareto {

/// Lanes 0 … 3 of r[i] and r[i + 4] are elements 0 … 3 and 4 … 7 of row i, lanes 4 … 7 those of row
/// i + 4; r[i] becomes element i of rows 0 … 7.
inline void transpose_halves_avx2(__m256 (&r)[8]) {
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    const __m256 low01 = _mm256_unpacklo_ps(r[i], r[i + 1]);
    const __m256 high01 = _mm256_unpackhi_ps(r[i], r[i + 1]);
    const __m256 low23 = _mm256_unpacklo_ps(r[i + 2], r[i + 3]);
    const __m256 high23 = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
    r[i] = _mm256_shuffle_ps(low01, low23, 0x44);
    r[i + 1] = _mm256_shuffle_ps(low01, low23, 0xee);
    r[i + 2] = _mm256_shuffle_ps(high01, high23, 0x44);
    r[i + 3] = _mm256_shuffle_ps(high01, high23, 0xee);
  }
}

template <DType kType>
class PackAvx2 {
 public:
  /// `count` elements from element i, then zeros to a whole register.
  static void row(const std::byte* data, std::int64_t i, std::int64_t count, std::uint32_t* out) {
    for (std::int64_t c = 0; c < count; c += kLanes) store(out + c, load(data, i + c, count - c));
  }

  /// K's panel [steps][stride] from the rows of `keys`, a panel's keys or fewer; of the other keys
  /// the first stand as zeros, to a whole register.
  static void k(const KvRows& rows, const KeyRange& keys, std::int64_t steps, std::int64_t stride,
                std::uint32_t* panel) {
    for (std::int64_t at = 0; at < keys.size(); at += kLanes) {
      const std::int64_t count = std::min<std::int64_t>(keys.size() - at, kLanes);
      std::int64_t element[kLanes];
      for (std::int64_t i = 0; i < count; ++i) element[i] = rows.element(keys.lo + at + i);
      std::uint32_t* out = panel + at;
      std::int64_t c = 0;
      for (; count == kLanes && c + kLanes <= rows.count; c += kLanes, out += kLanes * stride) {
        __m256 block[kLanes];
        load_halves(rows.data, element, c, block);
        transpose_halves_avx2(block);
#pragma GCC unroll 8
        for (int i = 0; i < kLanes; ++i) store(out + i * stride, block[i]);
      }
      for (; c < steps; c += kLanes, out += kLanes * stride) {
        k_edge(rows, element, count, c, std::min<std::int64_t>(kLanes, steps - c), stride, out);
      }
    }
  }

  /// V of the rows of `keys`, in panels of columns; true if a value is not finite.
  static bool v(const KvRows& rows, const KeyRange& keys, std::int64_t v_panels,
                std::int64_t v_stride, std::uint32_t* v) {
    constexpr int kPanel = AttentionLanesAvx2::kPanel;
    // 0, or NaN once something was not finite.
    __m256 odd[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (std::int64_t j = 0; j < keys.size(); ++j, v += kPanel) {
      const std::int64_t element = rows.element(keys.lo + j);
      std::uint32_t* out = v;
      for (std::int64_t c = 0; c < v_panels * kPanel; c += kPanel, out += v_stride) {
#pragma GCC unroll 2
        for (int i = 0; i < 2; ++i) {
          const std::int64_t at = c + i * kLanes;
          const __m256 x = load(rows.data, element + at, rows.count - at);
          odd[i] = _mm256_fmadd_ps(x, _mm256_setzero_ps(), odd[i]);
          store(out + i * kLanes, x);
        }
      }
    }
    return AttentionLanesAvx2::any_non_finite(_mm256_add_ps(odd[0], odd[1]));
  }

 private:
  static constexpr int kLanes = AttentionLanesAvx2::kLanes;
  static constexpr std::int64_t kBytes = kBytesOf<kType>;

  static void store(std::uint32_t* p, __m256 x) {
    _mm256_storeu_ps(reinterpret_cast<float*>(p), x);
  }
  /// 8 elements, of which `count` are there; the others are 0 and not read.
  static __m256 load(const std::byte* data, std::int64_t i, std::int64_t count) {
    if (count >= kLanes) [[likely]]
      return load_codes_avx2(data + i * kBytes, kType);
    return load_codes_avx2(data, kType, kBytes, i, count);
  }

  /// Elements c … c + 7 of 8 rows, as transpose_halves_avx2 takes them.
  static void load_halves(const std::byte* data, const std::int64_t (&element)[kLanes],
                          std::int64_t c, __m256 (&block)[kLanes]) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const std::byte* low = data + (element[i] + c) * kBytes;
      const std::byte* high = data + (element[i + 4] + c) * kBytes;
      if constexpr (kType == DType::kF32) {
        // Halves joined as they are loaded need no shuffle.
        block[i] = _mm256_loadu2_m128(reinterpret_cast<const float*>(high),
                                      reinterpret_cast<const float*>(low));
        block[i + 4] = _mm256_loadu2_m128(reinterpret_cast<const float*>(high) + 4,
                                          reinterpret_cast<const float*>(low) + 4);
      } else {
        const __m256 a = load_codes_avx2(low, kType);
        const __m256 b = load_codes_avx2(high, kType);
        block[i] = _mm256_permute2f128_ps(a, b, 0x20);
        block[i + 4] = _mm256_permute2f128_ps(a, b, 0x31);
      }
    }
  }

  /// `steps` steps of up to 8 keys.
  static void k_edge(const KvRows& rows, const std::int64_t (&element)[kLanes], std::int64_t count,
                     std::int64_t c, std::int64_t steps, std::int64_t stride, std::uint32_t* out) {
    alignas(32) float edge[kLanes][kLanes] = {};
    for (std::int64_t i = 0; i < count; ++i) {
      _mm256_store_ps(edge[i], load(rows.data, element[i] + c, rows.count - c));
    }
    for (std::int64_t step = 0; step < steps; ++step) {
      for (std::int64_t i = 0; i < kLanes; ++i) {
        reinterpret_cast<float*>(out)[step * stride + i] = edge[i][step];
      }
    }
  }
};

}  // namespace pareto
