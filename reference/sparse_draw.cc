// Seeded original inputs of sparse: the distributions, and the patterns of the battery.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "reference/distributions.h"
#include "reference/prune.h"
#include "reference/sparse_parts.h"

namespace pareto {
namespace {

constexpr float kPlant = 4;  ///< factor of the columns at the ends of K and of its tiles

bool is_pattern(const std::string& distribution) {
  constexpr std::string_view kPatterns[] = {"exact",   "planted",    "empty_rows",
                                            "one_row", "one_column", "all_zero",
                                            "dense",   "non_finite", "subnormal"};
  return std::find(std::begin(kPatterns), std::end(kPatterns), distribution) != std::end(kPatterns);
}

HostTensor filled(const std::string& distribution, std::uint64_t key, const Shape& shape) {
  HostTensor tensor(DType::kF32, shape);
  const std::int64_t columns = shape[shape.rank() - 1];
  fill_distribution(distribution, key, tensor.span<float>(), std::max<std::int64_t>(columns, 1));
  return tensor;
}

// Whole numbers −4 … 4 without 0.
HostTensor whole(std::uint64_t key, const Shape& shape) {
  HostTensor tensor(DType::kF32, shape);
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    const std::uint64_t word = random_below(key, static_cast<std::uint64_t>(i), 8);
    const float magnitude = static_cast<float>(word % 4) + 1;
    tensor.view().as<float>()[i] = word < 4 ? magnitude : -magnitude;
  }
  return tensor;
}

bool is_exact(const std::string& distribution) {
  return distribution == "exact" || distribution == "dense";
}

// What fills a tensor before a pattern is cut out of it.
HostTensor base(const std::string& distribution, std::uint64_t key, const Shape& shape) {
  if (is_exact(distribution)) return whole(key, shape);
  return filled(is_pattern(distribution) ? "normal" : distribution, key, shape);
}

bool at_tile_end(std::int64_t k, std::int64_t K) {
  return k % 16 == 0 || k % 16 == 15 || k == K - 1;
}

// Is place (row, k) of the pattern a nonzero?
bool stays(const std::string& distribution, std::uint64_t key, std::int64_t row, std::int64_t rows,
           std::int64_t k, std::int64_t K) {
  if (distribution == "all_zero") return false;
  if (distribution == "dense") return true;
  if (distribution == "one_row") return row == rows / 2;
  if (distribution == "one_column") return k == K / 2;
  if (distribution == "empty_rows" && row % 2 == 1) return false;
  if (distribution == "planted" && at_tile_end(k, K)) return true;
  if (distribution == "non_finite" && k % 8 == 3) return row % 4 == 0;
  return random_below(key, static_cast<std::uint64_t>(row * K + k), 2) == 0;
}

// Cuts the pattern out of a matrix; 2to4 keeps two of four of it.
void cut(const std::string& distribution, SparseFormat format, std::uint64_t key,
         HostTensor& tensor) {
  const std::int64_t rows = tensor.shape()[0];
  const std::int64_t columns = tensor.shape()[1];
  float* values = tensor.span<float>().data();
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    if (!stays(distribution, key, i / columns, rows, i % columns, columns)) values[i] = 0;
  }
  if (format == SparseFormat::k2to4) prune_n_of_m(tensor.span<float>(), rows, columns, 2, 4);
}

void plant(HostTensor& tensor) {
  const std::int64_t columns = tensor.shape()[1];
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    if (at_tile_end(i % columns, columns)) tensor.view().as<float>()[i] *= kPlant;
  }
}

// NaN and infinities in the columns that `stays` leaves to every fourth row.
void poison_columns(HostTensor& tensor) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const float kinds[] = {std::numeric_limits<float>::quiet_NaN(), kInf, -kInf};
  const std::int64_t columns = tensor.shape()[1];
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    const std::int64_t row = i / columns;
    const std::int64_t k = i % columns;
    if (k % 8 == 3 && (k / 8 + row) % 3 == 0) tensor.view().as<float>()[i] = kinds[row % 3];
  }
}

void make_subnormal(TensorMap& inputs) {
  for (const char* name : {"x", "w"}) {
    HostTensor& tensor = inputs.at(name);
    scale_to_subnormals(tensor.span<float>(), tensor.shape()[1]);
  }
  if (inputs.find("bias") == inputs.end()) return;
  // Below the smallest sums, which it must not hide.
  for (float& value : inputs.at("bias").span<float>()) value = std::ldexp(value, -140);
}

}  // namespace

TensorMap draw_sparse(const Problem& problem, const Draw& draw) {
  const SparseProblem p = SparseProblem::from(problem);
  const std::string& distribution = draw.distribution;
  Draw weights = draw;
  weights.content = 0;
  TensorMap inputs;
  inputs["x"] = base(distribution, stream_key(draw, "x"), Shape{p.M, p.K});
  HostTensor& x = inputs["x"];
  if (p.format == SparseFormat::kLowRank && problem.word("method") != "svd") {
    inputs["a"] = base(distribution, stream_key(weights, "a"), Shape{p.N, p.rank});
    inputs["b"] = base(distribution, stream_key(weights, "b"), Shape{p.rank, p.K});
  } else {
    inputs["w"] = base(distribution, stream_key(weights, "w"), Shape{p.N, p.K});
  }
  if (p.has_bias) {
    inputs["bias"] = base(distribution, stream_key(weights, "bias"), Shape{p.N});
  }
  if (!is_pattern(distribution) || p.format == SparseFormat::kLowRank) return inputs;
  HostTensor& w = inputs["w"];
  const bool skip_x = p.format == SparseFormat::kSkipX;
  if (distribution == "planted") {
    plant(x);
    plant(w);
  }
  if (distribution == "subnormal") make_subnormal(inputs);
  cut(distribution, p.format, stream_key(skip_x ? draw : weights, "pattern"), skip_x ? x : w);
  if (distribution == "non_finite") poison_columns(skip_x ? w : x);
  return inputs;
}

}  // namespace pareto
