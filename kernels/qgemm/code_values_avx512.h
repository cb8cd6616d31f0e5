// Stored codes of W to operands of the dot product or FMA, in registers: what the tiles of
// coded_tile_avx512.h differ in.
//
// A policy decodes one 64-byte vector of 16 columns: `kElements` of K per column, as `kSteps`
// registers of dwords (two bf16, or one fp32). `place` says where the packing puts a code.
#pragma once

#include <immintrin.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/qgemm/coded_panels.h"
#include "kernels/qgemm/group_formats.h"
#include "kernels/qgemm/tile_avx512.h"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")

namespace pareto {

/// One vector of codes, kept in a register: shifts would otherwise take it from memory again, and
/// loads are what limits a single row (w4a16_g128: 30 GB/s become 34).
inline __m512i load_codes_avx512(const std::byte* w) {
  __m512i codes = _mm512_load_si512(w);
  asm("" : "+v"(codes));
  return codes;
}

/// Nothing per column but the scale.
struct NoColumns {
  static constexpr ColumnKind kColumns = ColumnKind::kNone;
  static constexpr int kBytes = 0;
  NoColumns(const std::byte* /*columns*/, int /*half*/) {}
};

/// 4-bit codes to pairs of bf16. Nibble i of a dword's low half is element 2i, of its high half
/// 2i + 1: shifted by 4i, both halves index a register of bf16 values. Only the lowest 5 bits
/// count, and the table holds its 16 values twice.
template <const std::array<std::uint16_t, 16>* kTable>
struct NibblePairs {
  using Dword = DwordBf16;
  using Vector = __m512i;
  using Columns = NoColumns;
  static constexpr int kElements = 8;
  static constexpr int kSteps = 4;
  static constexpr CodePlace place(int k, int column) {
    return {column * 4 + k % 2 * 2 + k / 4, k / 2 % 2 != 0};
  }

  NibblePairs()
      : table(_mm512_broadcast_i64x4(
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kTable->data())))) {}
  [[nodiscard]] Vector load(const std::byte* w, const Columns& /*columns*/) const {
    return load_codes_avx512(w);
  }
  [[nodiscard]] __m512 value(Vector vector, const Columns& /*columns*/, int i) const {
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_srli_epi16(vector, 4 * i), table));
  }
  __m512i table;
};

/// bf16 of −15 … 15 (and 16, which no index reaches).
constexpr std::array<std::uint16_t, 32> signed_bf16_table() {
  std::array<std::uint16_t, 32> table{};
  for (int i = 0; i < 32; ++i) {
    const int value = i < 15 ? 15 - i : i - 15;
    int exponent = 0;
    while (value >> (exponent + 1) != 0) ++exponent;
    const int mantissa = (value << (7 - exponent)) & 0x7f;
    const int bits = value == 0 ? 0 : (127 + exponent) << 7 | mantissa;
    table[static_cast<std::size_t>(i)] = static_cast<std::uint16_t>(bits | (i < 15 ? 0x8000 : 0));
  }
  return table;
}
inline constexpr std::array<std::uint16_t, 32> kSignedBf16 = signed_bf16_table();

/// 15 − zero point of 16 columns in every byte of a dword; `columns` holds it as u8 [32].
struct ZeroColumns {
  static constexpr ColumnKind kColumns = ColumnKind::kZeroFrom15;
  static constexpr int kBytes = 64;
  ZeroColumns(const std::byte* columns, int half) {
    const __m128i zeros =
        _mm_load_si128(reinterpret_cast<const __m128i*>(columns + std::ptrdiff_t{half} * 16));
    const __m512i dwords = _mm512_cvtepu8_epi32(zeros);
    const __m512i words = _mm512_or_si512(dwords, _mm512_slli_epi32(dwords, 16));
    up = _mm512_or_si512(words, _mm512_slli_epi32(words, 8));
  }
  __m512i up;
};

/// Unsigned codes with a zero point: code − zero is exact in bf16, and looked up by 5 bits. (A sum
/// of zero · Σx taken off at the end of the group would cancel.)
struct ZeroNibblePairs {
  using Dword = DwordBf16;
  struct Vector {
    __m512i even;
    __m512i odd;
  };
  using Columns = ZeroColumns;
  static constexpr int kElements = 8;
  static constexpr int kSteps = 4;
  static constexpr CodePlace place(int k, int column) {
    return NibblePairs<nullptr>::place(k, column);
  }

  ZeroNibblePairs() : table(_mm512_loadu_si512(kSignedBf16.data())) {}
  [[nodiscard]] Vector load(const std::byte* w, const Columns& columns) const {
    const __m512i low = _mm512_set1_epi8(15);
    const __m512i codes = load_codes_avx512(w);
    return {_mm512_add_epi8(_mm512_and_si512(codes, low), columns.up),
            _mm512_add_epi8(_mm512_and_si512(_mm512_srli_epi16(codes, 4), low), columns.up)};
  }
  [[nodiscard]] __m512 value(const Vector& vector, const Columns& /*columns*/, int i) const {
    const __m512i index = _mm512_srli_epi16(i % 2 == 0 ? vector.even : vector.odd, i / 2 * 8);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(index, table));
  }
  __m512i table;
};

/// Low and high bytes of the bf16 values of 128 codes without sign.
struct ByteTable {
  std::array<std::uint8_t, 128> low{};
  std::array<std::uint8_t, 128> high{};
};

/// Magnitudes of a float of `mantissa` bits; those below its smallest normal included.
constexpr ByteTable byte_table(int mantissa, int bias) {
  ByteTable table;
  for (int code = 1; code < 128; ++code) {
    int exponent = code >> mantissa;
    int fraction = code & ((1 << mantissa) - 1);
    if (exponent == 0) {
      for (exponent = 1; fraction >> mantissa == 0; --exponent) fraction <<= 1;
    }
    fraction &= (1 << mantissa) - 1;
    const int bits = (exponent - bias + 127) << 7 | fraction << (7 - mantissa);
    table.low[static_cast<std::size_t>(code)] = static_cast<std::uint8_t>(bits & 0xff);
    table.high[static_cast<std::size_t>(code)] = static_cast<std::uint8_t>(bits >> 8);
  }
  return table;
}
inline constexpr ByteTable kE4m3Bytes = byte_table(3, 7);
inline constexpr ByteTable kE5m2Bytes = byte_table(2, 15);
inline constexpr ByteTable kE2m3Bytes = byte_table(3, 1);
inline constexpr ByteTable kE3m2Bytes = byte_table(2, 3);

/// table[index], 7 bits each; of VBMI, which this header's target does not name.
inline __m512i look_up_bytes_avx512(__m512i table0, __m512i table1, __m512i index) {
  asm("vpermi2b %2, %1, %0" : "+v"(index) : "v"(table0), "v"(table1));
  return index;
}

/// Codes of a byte, sign on top, to pairs of bf16: both bytes of a value are looked up for 64 codes
/// at once and then interleaved.
template <const ByteTable* kTable>
struct BytePairs {
  using Dword = DwordBf16;
  struct Vector {
    __m512i low;
    __m512i high;
  };
  using Columns = NoColumns;
  static constexpr int kElements = 4;
  static constexpr int kSteps = 2;
  static constexpr CodePlace place(int k, int column) {
    return {column / 4 * 16 + k / 2 * 8 + column % 4 * 2 + k % 2, false};
  }

  BytePairs()
      : low0(_mm512_loadu_si512(kTable->low.data())),
        low1(_mm512_loadu_si512(kTable->low.data() + 64)),
        high0(_mm512_loadu_si512(kTable->high.data())),
        high1(_mm512_loadu_si512(kTable->high.data() + 64)) {}
  [[nodiscard]] Vector load(const std::byte* w, const Columns& /*columns*/) const {
    const __m512i codes = load_codes_avx512(w);
    const __m512i high = look_up_bytes_avx512(high0, high1, codes);
    constexpr int kOrAnd = 0xf8;  // a | (b & c)
    return {look_up_bytes_avx512(low0, low1, codes),
            _mm512_ternarylogic_epi32(high, codes, _mm512_set1_epi8(-128), kOrAnd)};
  }
  [[nodiscard]] __m512 value(const Vector& vector, const Columns& /*columns*/, int i) const {
    return _mm512_castsi512_ps(i == 0 ? _mm512_unpacklo_epi8(vector.low, vector.high)
                                      : _mm512_unpackhi_epi8(vector.low, vector.high));
  }
  __m512i low0, low1, high0, high1;
};

/// 4-bit codes to fp32; nibble k of a dword is element k.
template <const float* kTable, typename ColumnsOf = NoColumns>
struct NibbleFloats {
  using Dword = DwordF32;
  using Vector = __m512i;
  using Columns = ColumnsOf;
  static constexpr int kElements = 8;
  static constexpr int kSteps = 8;
  static constexpr CodePlace place(int k, int column) { return {column * 4 + k / 2, k % 2 != 0}; }

  NibbleFloats() : table(_mm512_loadu_ps(kTable)) {}
  [[nodiscard]] Vector load(const std::byte* w, const Columns& /*columns*/) const {
    return load_codes_avx512(w);
  }
  [[nodiscard]] __m512 value(Vector vector, const Columns& columns, int i) const {
    // The permutation looks at the lowest 4 bits of each lane alone.
    const __m512i index = _mm512_srli_epi32(vector, 4 * i);
    const __m512 value = _mm512_permutexvar_ps(index, table);
    if constexpr (Columns::kBytes != 0) return columns.apply(value);
    return value;
  }
  __m512 table;
};

/// fp32 zero point of 16 columns, stored as fp32 [32].
struct ShiftColumns {
  static constexpr ColumnKind kColumns = ColumnKind::kZeroF32;
  static constexpr int kBytes = 128;
  ShiftColumns(const std::byte* columns, int half)
      : zero(_mm512_load_ps(columns + std::ptrdiff_t{half} * 64)) {}
  [[nodiscard]] __m512 apply(__m512 value) const { return _mm512_sub_ps(value, zero); }
  __m512 zero;
};

/// q4_k: scale d·sc and minimum dmin·mn of one sub-block, from u8 sc[32], mn[32] and fp16 d[32],
/// dmin[32]; both products are exact.
struct Q4kColumns {
  static constexpr ColumnKind kColumns = ColumnKind::kQ4k;
  static constexpr int kBytes = 192;
  Q4kColumns(const std::byte* columns, int half)
      : scale(
            product(columns + std::ptrdiff_t{half} * 16, columns + 64 + std::ptrdiff_t{half} * 32)),
        minimum(product(columns + 32 + std::ptrdiff_t{half} * 16,
                        columns + 128 + std::ptrdiff_t{half} * 32)) {}
  static __m512 product(const std::byte* codes, const std::byte* factors) {
    const __m512i code =
        _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(codes)));
    return _mm512_mul_ps(
        _mm512_cvtepi32_ps(code),
        _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(factors))));
  }
  [[nodiscard]] __m512 apply(__m512 value) const { return _mm512_fmsub_ps(value, scale, minimum); }
  __m512 scale;
  __m512 minimum;
};

/// s8 codes to fp32: 4 rows of 16 columns.
struct ByteFloats {
  using Dword = DwordF32;
  using Vector = const std::byte*;
  using Columns = NoColumns;
  static constexpr int kElements = 4;
  static constexpr int kSteps = 4;
  static constexpr CodePlace place(int k, int column) { return {k * 16 + column, false}; }

  [[nodiscard]] Vector load(const std::byte* w, const Columns& /*columns*/) const { return w; }
  [[nodiscard]] __m512 value(Vector vector, const Columns& /*columns*/, int i) const {
    const auto* codes = reinterpret_cast<const __m128i*>(vector) + i;
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_load_si128(codes)));
  }
};

}  // namespace pareto

#pragma GCC pop_options
