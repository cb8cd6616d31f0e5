// Reading rows of W back from the sparse formats.
#include <bit>

#include "reference/sparse_formats.h"

namespace pareto {
namespace {

void append(SparseRow& row, std::int64_t k, double value) {
  row.k.push_back(k);
  row.value.push_back(value);
}

}  // namespace

SparseReader::SparseReader(const SparseProblem& problem, std::span<const Tensor> in)
    : p_(problem), in_(in.begin(), in.end()) {
  if (p_.format != SparseFormat::kSell) return;
  lane_of_row_.resize(static_cast<std::size_t>(p_.N));
  const std::span<const std::int32_t> rows = in_[kSparseRow].span<const std::int32_t>();
  for (std::size_t lane = 0; lane < rows.size(); ++lane) {
    if (rows[lane] < 0) continue;
    lane_of_row_[static_cast<std::size_t>(rows[lane])] = static_cast<std::int64_t>(lane);
  }
}

void SparseReader::read(std::int64_t n, SparseRow& row) const {
  row.k.clear();
  row.value.clear();
  switch (p_.format) {
    case SparseFormat::kCsr:
      return read_csr(n, row);
    case SparseFormat::kSell:
      return read_sell(n, row);
    case SparseFormat::kBsr:
      return read_bsr(n, row);
    case SparseFormat::k2to4:
      return read_2to4(n, row);
    case SparseFormat::kBitmap:
      return read_bitmap(n, row);
    default:
      return read_dense(n, row);
  }
}

std::int64_t SparseReader::nonzeros() const {
  SparseRow row;
  std::int64_t sum = 0;
  for (std::int64_t n = 0; n < p_.N; ++n) {
    read(n, row);
    sum += static_cast<std::int64_t>(row.k.size());
  }
  return sum;
}

void SparseReader::read_csr(std::int64_t n, SparseRow& row) const {
  const std::int64_t* offset = in_[kSparseOffset].as<const std::int64_t>();
  const std::int32_t* index = in_[kSparseIndex].as<const std::int32_t>();
  for (std::int64_t i = offset[n]; i < offset[n + 1]; ++i) {
    append(row, index[i], value_at(in_[kSparseValues], i));
  }
}

void SparseReader::read_sell(std::int64_t n, SparseRow& row) const {
  const std::int64_t lane = lane_of_row_[static_cast<std::size_t>(n)];
  const std::int64_t first =
      in_[kSparseOffset].as<const std::int64_t>()[lane / kSellRows] + lane % kSellRows;
  const std::int32_t length = in_[kSparseRowLength].as<const std::int32_t>()[lane];
  for (std::int64_t j = 0; j < length; ++j) {
    const std::int64_t i = first + j * kSellRows;
    append(row, in_[kSparseIndex].as<const std::int32_t>()[i], value_at(in_[kSparseValues], i));
  }
}

void SparseReader::read_bsr(std::int64_t n, SparseRow& row) const {
  const std::int64_t r = n / p_.block;
  const std::int64_t* offset = in_[kSparseOffset].as<const std::int64_t>();
  for (std::int64_t i = offset[r]; i < offset[r + 1]; ++i) {
    const std::int64_t first = in_[kSparseIndex].as<const std::int32_t>()[i] * p_.block;
    const std::int64_t place = (i * p_.block + n % p_.block) * p_.block;
    for (std::int64_t j = 0; j < p_.block && first + j < p_.K; ++j) {
      const double value = value_at(in_[kSparseValues], place + j);
      if (value != 0) append(row, first + j, value);
    }
  }
}

void SparseReader::read_2to4(std::int64_t n, SparseRow& row) const {
  const std::uint8_t* meta = in_[kSparseMeta].as<const std::uint8_t>() + n * p_.meta_row_bytes();
  for (std::int64_t g = 0; g < p_.groups_of_4(); ++g) {
    const TwoToFour at = two_to_four(meta[g / 2], g);
    const std::int64_t place = (n * p_.groups_of_4() + g) * 2;
    const double first = value_at(in_[kSparseValues], place);
    const double second = value_at(in_[kSparseValues], place + 1);
    if (first != 0) append(row, 4 * g + at.first, first);
    if (second != 0) append(row, 4 * g + at.second, second);
  }
}

void SparseReader::read_bitmap(std::int64_t n, SparseRow& row) const {
  std::int64_t place = in_[kSparseOffset].as<const std::int64_t>()[n];
  const std::uint64_t* words = in_[kSparseMeta].as<const std::uint64_t>() + n * p_.words();
  for (std::int64_t w = 0; w < p_.words(); ++w) {
    for (std::uint64_t bits = words[w]; bits != 0; bits &= bits - 1) {
      append(row, w * kBitmapBits + std::countr_zero(bits), value_at(in_[kSparseValues], place++));
    }
  }
}

void SparseReader::read_dense(std::int64_t n, SparseRow& row) const {
  for (std::int64_t k = 0; k < p_.K; ++k) append(row, k, value_at(in_[kSparseW], n * p_.K + k));
}

}  // namespace pareto
