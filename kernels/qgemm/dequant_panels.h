// Compressed panels of W that are decoded just ahead of a dense tile: the same layout for every
// weight scheme. Portable; packing runs once, in `prepare`.
//
// A step is one scale group of 32 columns: codes in [kGroup][32] bytes, or as nibbles in
// [kGroup/2][32] bytes with the even k low and the odd one high; then fp32 scale[32] and fp32
// offset[32], where the scheme has them. Value = decoded code · scale + offset.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "harness/tensor.h"
#include "harness/thread_pool.h"
#include "reference/qgemm.h"

namespace pareto {

/// How codes decode.
enum class CodeKind : std::uint8_t {
  kInt4,   ///< nibble − 8
  kUInt4,  ///< nibble
  kNf4,    ///< kNf4Table
  kE2m1,
  kS8,
  kE4m3,
  kE5m2,
  kE2m3,
  kE3m2,
};
constexpr bool is_nibble(CodeKind kind) { return kind <= CodeKind::kE2m1; }

/// The stored code of element k of a row of W.
std::uint8_t stored_code(WKind kind, const std::uint8_t* row, std::int64_t k);

/// Value = code · scale + offset; both exact in fp32.
struct Affine {
  float scale = 1;
  float offset = 0;
};
/// Of group g of row n of W.
Affine affine_of(const QgemmProblem& problem, std::span<const Tensor> in, std::int64_t n,
                 std::int64_t g);

/// The geometry of one scheme's panels.
struct DequantFormat {
  CodeKind codes = CodeKind::kInt4;
  int group = 32;
  bool scaled = true;
  bool offset = false;

  bool operator==(const DequantFormat&) const = default;
  [[nodiscard]] constexpr std::int64_t code_bytes() const {
    return std::int64_t{32} * group / (is_nibble(codes) ? 2 : 1);
  }
  [[nodiscard]] constexpr std::int64_t step_bytes() const {
    return code_bytes() + (scaled ? 128 : 0) + (offset ? 128 : 0);
  }
};

/// All formats there are.
inline constexpr DequantFormat kDequantFormats[] = {
    {CodeKind::kInt4, 128, true, false}, {CodeKind::kInt4, 32, true, false},
    {CodeKind::kUInt4, 128, true, true}, {CodeKind::kUInt4, 32, true, true},
    {CodeKind::kNf4, 64, true, false},   {CodeKind::kE2m1, 32, true, false},
    {CodeKind::kE2m1, 16, true, false},  {CodeKind::kS8, 32, true, false},
    {CodeKind::kE4m3, 32, false, false}, {CodeKind::kE5m2, 32, false, false},
    {CodeKind::kE4m3, 128, true, false}, {CodeKind::kE4m3, 32, true, false},
    {CodeKind::kE2m3, 32, true, false},  {CodeKind::kE3m2, 32, true, false},
};

/// The format of a scheme with float products (not fp32, bf16, fp16). fp8 with a scale per row has
/// none inside the panel, nor nvfp4 its tensor scale: they belong to the epilogue.
DequantFormat dequant_format(const QgemmProblem& problem);

/// Rounding errors of a decoded weight in fp32, in units of 2^-24: 0 where it is exact.
int dequant_roundings(const QgemmProblem& problem);

/// Roundings of the epilogue: two scales, the second with the bias; or the bias alone.
int dequant_epilogue_roundings(const QgemmProblem& problem);

/// Fills all panels; `panels` is zero beforehand.
void pack_dequant_panels(const QgemmProblem& problem, std::span<const Tensor> in,
                         const DequantFormat& format, std::int64_t panel_bytes, std::byte* panels,
                         ThreadPool& pool);

}  // namespace pareto
