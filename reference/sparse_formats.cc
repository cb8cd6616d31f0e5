#include "reference/sparse_formats.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "harness/errors.h"
#include "reference/number_formats.h"

namespace pareto {
namespace {

template <typename T>
bool is_zero(T code) {
  return static_cast<T>(code << 1U) == 0;  // all bits but the sign
}

HostTensor indices(const std::vector<std::int32_t>& values) {
  HostTensor tensor(DType::kS32, Shape{static_cast<std::int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.span<std::int32_t>().begin());
  return tensor;
}

HostTensor offsets(const std::vector<std::int64_t>& values) {
  HostTensor tensor(DType::kS64, Shape{static_cast<std::int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.span<std::int64_t>().begin());
  return tensor;
}

// Stores one dense matrix of codes T (fp32 as its bits) in the formats.
template <typename T>
class Encoder {
 public:
  Encoder(const SparseProblem& problem, const HostTensor& w, Operands& operands)
      : p_(problem), w_(w.span<T>().data()), operands_(operands) {}

  void encode() {
    switch (p_.format) {
      case SparseFormat::kCsr:
        return csr();
      case SparseFormat::kSell:
        return sell();
      case SparseFormat::kBsr:
        return bsr();
      case SparseFormat::k2to4:
        return two_to_four();
      default:
        return bitmap();
    }
  }

 private:
  const T* row(std::int64_t n) const { return w_ + n * p_.K; }

  std::int64_t count(std::int64_t n) const {
    return std::count_if(row(n), row(n) + p_.K, [](T code) { return !is_zero(code); });
  }

  void set_values(const std::vector<T>& values, const Shape& shape) {
    HostTensor tensor(p_.dtype, shape);
    std::copy(values.begin(), values.end(), tensor.template span<T>().begin());
    operands_[kSparseValues] = std::move(tensor);
  }

  void csr() {
    std::vector<T> values;
    std::vector<std::int32_t> columns;
    std::vector<std::int64_t> offset = {0};
    for (std::int64_t n = 0; n < p_.N; ++n) {
      for (std::int64_t k = 0; k < p_.K; ++k) {
        if (is_zero(row(n)[k])) continue;
        values.push_back(row(n)[k]);
        columns.push_back(static_cast<std::int32_t>(k));
      }
      offset.push_back(static_cast<std::int64_t>(values.size()));
    }
    set_values(values, Shape{offset.back()});
    operands_[kSparseIndex] = indices(columns);
    operands_[kSparseOffset] = offsets(offset);
  }

  // Rows in the order of lanes: by descending number of nonzeros within each window, −1 behind N.
  std::vector<std::int32_t> sell_rows(const std::vector<std::int64_t>& nonzeros) const {
    std::vector<std::int32_t> rows(static_cast<std::size_t>(p_.slices() * kSellRows), -1);
    std::iota(rows.begin(), rows.begin() + p_.N, 0);
    for (std::int64_t begin = 0; begin < p_.N; begin += kSellWindow) {
      const std::int64_t end = std::min(p_.N, begin + kSellWindow);
      std::stable_sort(rows.begin() + begin, rows.begin() + end, [&](auto a, auto b) {
        return nonzeros[static_cast<std::size_t>(a)] > nonzeros[static_cast<std::size_t>(b)];
      });
    }
    return rows;
  }

  void sell() {
    std::vector<std::int64_t> nonzeros(static_cast<std::size_t>(p_.N));
    for (std::int64_t n = 0; n < p_.N; ++n) nonzeros[static_cast<std::size_t>(n)] = count(n);
    const std::vector<std::int32_t> rows = sell_rows(nonzeros);
    std::vector<std::int32_t> lengths(rows.size(), 0);
    for (std::size_t lane = 0; lane < rows.size(); ++lane) {
      if (rows[lane] < 0) continue;
      lengths[lane] = static_cast<std::int32_t>(nonzeros[static_cast<std::size_t>(rows[lane])]);
    }
    // The first lane of a slice is its longest.
    std::vector<std::int64_t> offset = {0};
    for (std::size_t lane = 0; lane < rows.size(); lane += kSellRows) {
      offset.push_back(offset.back() + kSellRows * lengths[lane]);
    }
    std::vector<T> values(static_cast<std::size_t>(offset.back()));
    std::vector<std::int32_t> columns(values.size());
    for (std::size_t lane = 0; lane < rows.size(); ++lane) {
      if (rows[lane] < 0) continue;
      const T* from = row(rows[lane]);
      auto place = static_cast<std::size_t>(offset[lane / kSellRows]) + lane % kSellRows;
      for (std::int64_t k = 0; k < p_.K; ++k) {
        if (is_zero(from[k])) continue;
        values[place] = from[k];
        columns[place] = static_cast<std::int32_t>(k);
        place += kSellRows;
      }
    }
    set_values(values, Shape{offset.back()});
    operands_[kSparseIndex] = indices(columns);
    operands_[kSparseOffset] = offsets(offset);
    operands_[kSparseRow] = indices(rows);
    operands_[kSparseRowLength] = indices(lengths);
  }

  // Appends block (r, c) to `values`, or nothing if all of it is zero.
  bool append_block(std::int64_t r, std::int64_t c, std::vector<T>& values) const {
    const std::int64_t rows = std::min(p_.block, p_.N - r * p_.block);
    const std::int64_t columns = std::min(p_.block, p_.K - c * p_.block);
    bool any = false;
    for (std::int64_t i = 0; i < rows && !any; ++i) {
      const T* from = row(r * p_.block + i) + c * p_.block;
      any = std::any_of(from, from + columns, [](T code) { return !is_zero(code); });
    }
    if (!any) return false;
    const std::size_t start = values.size();
    values.resize(start + static_cast<std::size_t>(p_.block * p_.block));
    for (std::int64_t i = 0; i < rows; ++i) {
      std::copy_n(row(r * p_.block + i) + c * p_.block, columns,
                  values.begin() + static_cast<std::ptrdiff_t>(start) + i * p_.block);
    }
    return true;
  }

  void bsr() {
    std::vector<T> values;
    std::vector<std::int32_t> columns;
    std::vector<std::int64_t> offset = {0};
    for (std::int64_t r = 0; r < p_.block_rows(); ++r) {
      for (std::int64_t c = 0; c < p_.block_columns(); ++c) {
        if (append_block(r, c, values)) columns.push_back(static_cast<std::int32_t>(c));
      }
      offset.push_back(static_cast<std::int64_t>(columns.size()));
    }
    set_values(values, Shape{offset.back(), p_.block, p_.block});
    operands_[kSparseIndex] = indices(columns);
    operands_[kSparseOffset] = offsets(offset);
  }

  // Places of the two values of a group: the nonzeros, filled up with the lowest free places.
  TwoToFour places(std::int64_t n, std::int64_t g) const {
    int chosen[2] = {0, 0};
    int found = 0;
    for (int i = 0; i < 4 && 4 * g + i < p_.K; ++i) {
      if (is_zero(row(n)[4 * g + i])) continue;
      if (found == 2) {
        throw InputError(
            fmt::format("dataset w holds more than 2 nonzeros in row {}, columns {} to "
                        "{}: format = 2to4 with sparsity = keep takes 2 of 4 (or "
                        "prune with sparsity = 0.5)",
                        n, 4 * g, 4 * g + 3));
      }
      chosen[found++] = i;
    }
    if (found == 0) return {0, 1};
    if (found == 1) return chosen[0] == 0 ? TwoToFour{0, 1} : TwoToFour{0, chosen[0]};
    return {chosen[0], chosen[1]};
  }

  void two_to_four() {
    const std::int64_t groups = p_.groups_of_4();
    HostTensor values(p_.dtype, Shape{p_.N, 2 * groups});
    HostTensor meta(DType::kU8, Shape{p_.N, p_.meta_row_bytes()});
    std::fill_n(meta.span<std::uint8_t>().begin(), meta.elements(), std::uint8_t{0x44});
    T* const packed = values.template span<T>().data();
    for (std::int64_t n = 0; n < p_.N; ++n) {
      for (std::int64_t g = 0; g < groups; ++g) {
        const TwoToFour at = places(n, g);
        const std::int64_t k = 4 * g;
        T* const pair = packed + (n * groups + g) * 2;
        pair[0] = k + at.first < p_.K ? row(n)[k + at.first] : T{0};
        pair[1] = k + at.second < p_.K ? row(n)[k + at.second] : T{0};
        const auto nibble = static_cast<unsigned>(at.first | at.second << 2);
        std::uint8_t& byte =
            meta.span<std::uint8_t>()[static_cast<std::size_t>(n * p_.meta_row_bytes() + g / 2)];
        byte = static_cast<std::uint8_t>(g % 2 == 0 ? (byte & 0xf0U) | nibble
                                                    : (byte & 0x0fU) | nibble << 4U);
      }
    }
    operands_[kSparseValues] = std::move(values);
    operands_[kSparseMeta] = std::move(meta);
  }

  void bitmap() {
    std::vector<T> values;
    std::vector<std::int64_t> offset = {0};
    HostTensor masks(DType::kS64, Shape{p_.N, p_.words()});
    for (std::int64_t n = 0; n < p_.N; ++n) {
      for (std::int64_t k = 0; k < p_.K; ++k) {
        if (is_zero(row(n)[k])) continue;
        values.push_back(row(n)[k]);
        masks.view().as<std::uint64_t>()[n * p_.words() + k / kBitmapBits] |=
            std::uint64_t{1} << static_cast<unsigned>(k % kBitmapBits);
      }
      offset.push_back(static_cast<std::int64_t>(values.size()));
    }
    set_values(values, Shape{offset.back()});
    operands_[kSparseOffset] = offsets(offset);
    operands_[kSparseMeta] = std::move(masks);
  }

  const SparseProblem& p_;
  const T* w_;
  Operands& operands_;
};

}  // namespace

void encode_sparse_weights(const SparseProblem& problem, HostTensor w, Operands& operands) {
  if (problem.format == SparseFormat::kSkipX) {
    operands[kSparseW] = std::move(w);
  } else if (problem.dtype == DType::kF32) {
    Encoder<std::uint32_t>(problem, w, operands).encode();
  } else {
    Encoder<std::uint16_t>(problem, w, operands).encode();
  }
}

}  // namespace pareto
