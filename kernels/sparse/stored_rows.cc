#include "kernels/sparse/stored_rows.h"

#include <algorithm>
#include <bit>

#include "kernels/widen.h"

namespace pareto {

std::vector<std::uint64_t> bitmap_masks(const SparseProblem& problem, std::span<const Tensor> in) {
  const std::int64_t words = problem.words();
  std::vector<std::uint64_t> masks(static_cast<std::size_t>(problem.N * words));
  if (problem.format == SparseFormat::kBitmap) {
    std::copy_n(in[kSparseMeta].as<const std::uint64_t>(), masks.size(), masks.begin());
    return masks;
  }
  const std::int64_t* offset = in[kSparseOffset].as<const std::int64_t>();
  const std::int32_t* column = in[kSparseIndex].as<const std::int32_t>();
  for (std::int64_t n = 0; n < problem.N; ++n) {
    for (std::int64_t i = offset[n]; i < offset[n + 1]; ++i) {
      masks[static_cast<std::size_t>(n * words + column[i] / kBitmapBits)] |=
          std::uint64_t{1} << static_cast<unsigned>(column[i] % kBitmapBits);
    }
  }
  return masks;
}

StoredRow StoredRows::read(std::int64_t lane, std::int32_t* k, float* value) const {
  switch (p_.format) {
    case SparseFormat::kCsr:
      return csr(lane, k, value);
    case SparseFormat::kSell:
      return sell(lane, k, value);
    case SparseFormat::kBsr:
      return bsr(lane, k, value);
    case SparseFormat::k2to4:
      return two_to_four(lane, k, value);
    default:
      return bitmap(lane, k, value);
  }
}

StoredRow StoredRows::csr(std::int64_t n, std::int32_t* k, float* value) const {
  const std::int64_t* offset = in_[kSparseOffset].as<const std::int64_t>();
  const std::int64_t count = offset[n + 1] - offset[n];
  std::copy_n(in_[kSparseIndex].as<const std::int32_t>() + offset[n], count, k);
  widen(in_[kSparseValues], offset[n], count, value);
  return {n, count};
}

StoredRow StoredRows::sell(std::int64_t lane, std::int32_t* k, float* value) const {
  const std::int64_t count = in_[kSparseRowLength].as<const std::int32_t>()[lane];
  std::int64_t place =
      in_[kSparseOffset].as<const std::int64_t>()[lane / kSellRows] + lane % kSellRows;
  for (std::int64_t j = 0; j < count; ++j, place += kSellRows) {
    k[j] = in_[kSparseIndex].as<const std::int32_t>()[place];
    value[j] = widened(in_[kSparseValues], place);
  }
  return {in_[kSparseRow].as<const std::int32_t>()[lane], count};
}

StoredRow StoredRows::bsr(std::int64_t n, std::int32_t* k, float* value) const {
  const std::int64_t* offset = in_[kSparseOffset].as<const std::int64_t>();
  std::int64_t count = 0;
  for (std::int64_t i = offset[n / p_.block]; i < offset[n / p_.block + 1]; ++i) {
    const std::int64_t first = in_[kSparseIndex].as<const std::int32_t>()[i] * p_.block;
    const std::int64_t place = (i * p_.block + n % p_.block) * p_.block;
    for (std::int64_t j = 0; j < std::min(p_.block, p_.K - first); ++j) {
      const float weight = widened(in_[kSparseValues], place + j);
      if (weight == 0) continue;
      k[count] = static_cast<std::int32_t>(first + j);
      value[count++] = weight;
    }
  }
  return {n, count};
}

StoredRow StoredRows::two_to_four(std::int64_t n, std::int32_t* k, float* value) const {
  const std::uint8_t* meta = in_[kSparseMeta].as<const std::uint8_t>() + n * p_.meta_row_bytes();
  std::int64_t count = 0;
  for (std::int64_t g = 0; g < p_.groups_of_4(); ++g) {
    const TwoToFour at = pareto::two_to_four(meta[g / 2], g);
    for (int i = 0; i < 2; ++i) {
      const float weight = widened(in_[kSparseValues], (n * p_.groups_of_4() + g) * 2 + i);
      if (weight == 0) continue;
      k[count] = static_cast<std::int32_t>(4 * g + (i == 0 ? at.first : at.second));
      value[count++] = weight;
    }
  }
  return {n, count};
}

StoredRow StoredRows::bitmap(std::int64_t n, std::int32_t* k, float* value) const {
  const std::int64_t* offset = in_[kSparseOffset].as<const std::int64_t>();
  const std::uint64_t* words = in_[kSparseMeta].as<const std::uint64_t>() + n * p_.words();
  const std::int64_t stored = offset[n + 1] - offset[n];
  widen(in_[kSparseValues], offset[n], stored, value);
  std::int64_t count = 0;
  for (std::int64_t w = 0; w < p_.words(); ++w) {
    for (std::uint64_t bits = words[w]; bits != 0; bits &= bits - 1) {
      k[count++] = static_cast<std::int32_t>(w * kBitmapBits + std::countr_zero(bits));
    }
  }
  return {n, count};
}

}  // namespace pareto
