// Other weights of the same formats: rows of W in another order.
#include <algorithm>
#include <vector>

#include "reference/number_formats.h"
#include "reference/rotated.h"
#include "reference/sparse_formats.h"
#include "reference/sparse_parts.h"

namespace pareto {
namespace {

// Elements [0, end) of an array in parts of `part` elements: those before `middle` behind the rest.
void rotate_elements(HostTensor& tensor, std::int64_t middle, std::int64_t end, std::int64_t part) {
  const std::int64_t bytes = part * static_cast<std::int64_t>(size_of(tensor.dtype()));
  std::byte* const data = tensor.view().data;
  if (tensor.present()) std::rotate(data, data + middle * bytes, data + end * bytes);
}

// csr, bsr and bitmap: what `offset` cuts into rows. Of bsr block rows move, but for one that N
// cuts short.
void rotate_stored_rows(const SparseProblem& p, std::int64_t by, Operands& w) {
  const bool blocks = p.format == SparseFormat::kBsr;
  const std::int64_t rows = blocks ? p.N / p.block : p.N;
  if (rows == 0) return;
  const std::int64_t first = by % rows;
  const std::span<std::int64_t> offset = w[kSparseOffset].span<std::int64_t>();
  const auto at = [&](std::int64_t row) { return offset[static_cast<std::size_t>(row)]; };
  rotate_elements(w[kSparseValues], at(first), at(rows), blocks ? p.block * p.block : 1);
  rotate_elements(w[kSparseIndex], at(first), at(rows), 1);
  w[kSparseMeta] = rotated_rows(w[kSparseMeta], by);
  std::vector<std::int64_t> lengths;
  for (std::int64_t row = 0; row < rows; ++row) lengths.push_back(at(row + 1) - at(row));
  std::rotate(lengths.begin(), lengths.begin() + first, lengths.end());
  for (std::size_t row = 0; row < lengths.size(); ++row)
    offset[row + 1] = offset[row] + lengths[row];
}

// Lanes are sorted by length: stored anew.
void rotate_lanes(const SparseProblem& p, std::int64_t by, Operands& w) {
  HostTensor dense(p.dtype, Shape{p.N, p.K});
  const SparseReader reader(p, sparse_views(w));
  SparseRow row;
  for (std::int64_t n = 0; n < p.N; ++n) {
    reader.read((n + by) % p.N, row);
    for (std::size_t i = 0; i < row.k.size(); ++i) {
      store_rounded(dense.view(), n * p.K + row.k[i], row.value[i]);
    }
  }
  encode_sparse_weights(p, std::move(dense), w);
}

}  // namespace

Operands rotated_sparse(const Problem& problem, const Operands& operands, std::int64_t by) {
  const SparseProblem p = SparseProblem::from(problem);
  Operands rotated = operands;
  switch (p.format) {
    case SparseFormat::kCsr:
    case SparseFormat::kBsr:
    case SparseFormat::kBitmap:
      rotate_stored_rows(p, by, rotated);
      break;
    case SparseFormat::kSell:
      rotate_lanes(p, by, rotated);
      break;
    default:
      for (const SparseSlot slot : {kSparseValues, kSparseMeta, kSparseW, kSparseA, kSparseB}) {
        rotated[slot] = rotated_rows(operands[slot], by);
      }
  }
  rotated[kSparseBias] = rotated_rows(operands[kSparseBias], by);
  return rotated;
}

}  // namespace pareto
