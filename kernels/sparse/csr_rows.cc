#include "kernels/sparse/csr_rows.h"

#include <algorithm>
#include <numeric>

#include "kernels/sparse/stored_rows.h"

namespace pareto {

CsrRows CsrRows::of(const SparseProblem& problem, std::span<const Tensor> in) {
  const StoredRows stored(problem, in);
  CsrRows rows;
  rows.N = problem.N;
  std::vector<std::int32_t> column(static_cast<std::size_t>(problem.K));
  std::vector<float> value(column.size());
  // Rows arrive in the order of storage: first their lengths, then their places.
  rows.start.assign(static_cast<std::size_t>(problem.N) + 1, 0);
  for (std::int64_t lane = 0; lane < stored.lanes(); ++lane) {
    const StoredRow row = stored.read(lane, column.data(), value.data());
    if (row.n >= 0) rows.start[static_cast<std::size_t>(row.n) + 1] = row.count;
  }
  std::partial_sum(rows.start.begin(), rows.start.end(), rows.start.begin());
  rows.column.resize(static_cast<std::size_t>(rows.start.back()));
  rows.value.resize(rows.column.size());
  for (std::int64_t lane = 0; lane < stored.lanes(); ++lane) {
    const StoredRow row = stored.read(lane, column.data(), value.data());
    if (row.n < 0) continue;
    const std::int64_t start = rows.start[static_cast<std::size_t>(row.n)];
    std::copy_n(column.begin(), row.count, rows.column.begin() + start);
    std::copy_n(value.begin(), row.count, rows.value.begin() + start);
  }
  return rows;
}

std::vector<std::int64_t> CsrRows::chunks_of_equal_work(int chunks) const {
  constexpr std::int64_t kRowWork = 4;  // the overhead of a row, in nonzeros
  const std::int64_t work = start.back() + kRowWork * N;
  std::int64_t done = 0;
  std::vector<std::int64_t> first_row = {0};
  for (std::int64_t n = 0; n < N; ++n) {
    const auto next = static_cast<std::int64_t>(first_row.size());
    if (next < chunks && done >= work * next / chunks) first_row.push_back(n);
    done += count(n) + kRowWork;
  }
  first_row.push_back(N);
  return first_row;
}

}  // namespace pareto
