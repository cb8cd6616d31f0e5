#include "harness/bound_test.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "harness/poison.h"

namespace pareto {
namespace {

/// Shape of a binary format: significand bits with the hidden one, least exponent of a normal
/// number, largest finite value.
struct FloatFormat {
  int precision;
  int min_exponent;
  double max;
};

const FloatFormat* format_of(DType dtype) {
  static constexpr FloatFormat kF32Format{24, -126, 0x1.fffffep127};
  static constexpr FloatFormat kBf16Format{8, -126, 0x1.fep127};
  static constexpr FloatFormat kF16Format{11, -14, 65504};
  switch (dtype) {
    case DType::kF32:
      return &kF32Format;
    case DType::kBf16:
      return &kBf16Format;
    case DType::kF16:
      return &kF16Format;
    default:
      return nullptr;
  }
}

/// Values of at least this magnitude round to infinity.
double overflow_threshold(DType dtype) {
  const FloatFormat* format = format_of(dtype);
  if (format == nullptr) return std::numeric_limits<double>::infinity();
  const double ulp = std::ldexp(1.0, std::ilogb(format->max) + 1 - format->precision);
  return format->max + ulp / 2;
}

bool same_non_finite(double got, double want) {
  return std::isnan(want) ? std::isnan(got) : got == want;
}

/// Is a non-finite (or finite) element where it belongs? `det` softens the edge of overflow: a
/// result within its bound may fall on either side of it, and of 0 where that is within the bound.
bool well_placed(double got, double want, double det, Placement placement, DType dtype) {
  if (placement == Placement::kAnything) return true;
  if (placement == Placement::kAnyNonFinite) return !std::isfinite(got);
  if (!std::isfinite(want)) return same_non_finite(got, want);
  if (std::isnan(got)) return false;
  const double edge = overflow_threshold(dtype);
  if (std::isinf(got)) return std::copysign(1.0, got) * want + det >= edge;
  return std::abs(want) - det < edge;
}

/// One pass over the compared elements.
struct Tally {
  std::vector<std::int64_t> misplaced;
  std::vector<std::int64_t> wrong;
  std::vector<double> ratios;  ///< error/bound where both are finite and the bound is positive
  double worst_ratio = -1;
  std::size_t worst = 0;
  double stat_sum = 0;
  std::int64_t stat_count = 0;
  bool has_stat = false;
};

double bound_at(const std::vector<double>& values, std::size_t i) {
  return values.empty() ? 0 : values[i];
}

/// True if the element keeps to the exactness or the bound that is asked of it.
bool agrees(double got, double want, double det, double stat, bool has_stat, bool exact,
            DType dtype) {
  if (exact || (has_stat && stat == 0)) return got == round_to(dtype, want);
  return std::abs(got - want) <= det;
}

void note_ratio(Tally& tally, std::size_t i, double error, double det) {
  const double ratio = error == 0 ? 0 : error / det;  // x/0 is infinite: an error where none may be
  if (det > 0) tally.ratios.push_back(ratio);
  if (!(ratio <= tally.worst_ratio)) {
    tally.worst_ratio = std::isnan(ratio) ? std::numeric_limits<double>::infinity() : ratio;
    tally.worst = i;
  }
}

Tally tally_of(const Tensor& got, std::span<const std::int64_t> positions, const Terms& terms,
               const Bounds& bounds, bool exact) {
  Tally tally;
  tally.has_stat =
      std::any_of(bounds.stat.begin(), bounds.stat.end(), [](double s) { return s > 0; });
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const double value = value_at(got, positions[i]);
    const double want = terms.column[0][i];
    const double det = bound_at(bounds.det, i);
    const Placement placement = bounds.placement.empty() ? Placement::kExact : bounds.placement[i];
    if (!well_placed(value, want, det, placement, got.dtype)) {
      tally.misplaced.push_back(positions[i]);
      if (tally.misplaced.size() == 1) tally.worst = i;
      continue;
    }
    if (!std::isfinite(value) || !std::isfinite(want) || placement != Placement::kExact) continue;
    const double stat = bound_at(bounds.stat, i);
    if (!agrees(value, want, det, stat, tally.has_stat, exact, got.dtype)) {
      tally.wrong.push_back(positions[i]);
    }
    const double error = std::abs(value - want);
    if (tally.misplaced.empty()) note_ratio(tally, i, error, det);
    if (stat > 0) {
      tally.stat_sum += (error / stat) * (error / stat);
      ++tally.stat_count;
    }
  }
  return tally;
}

double median_of(std::vector<double> values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string index_text(const Shape& shape, std::int64_t flat) {
  std::array<std::int64_t, 5> index{};
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    index[axis] = shape[axis] > 0 ? flat % shape[axis] : 0;
    flat = shape[axis] > 0 ? flat / shape[axis] : 0;
  }
  return Shape(std::span<const std::int64_t>(index.data(), shape.rank())).text();
}

void fail(Verdict& verdict, std::string check, std::string message) {
  if (!verdict.pass) return;
  verdict.pass = false;
  verdict.check = std::move(check);
  verdict.message = std::move(message);
}

void fail_elements(Verdict& verdict, const Tensor& got, const BoundTestOptions& options,
                   const std::vector<std::int64_t>& wrong, const char* check) {
  verdict.n_wrong = static_cast<std::int64_t>(wrong.size());
  fail(verdict, check,
       fmt::format("{}: {} of {} compared elements of {} {} are wrong; worst at {} (flat {}): got "
                   "{:.9g}, want {:.9g}, bound {:.3g}; {}",
                   check, wrong.size(), verdict.n_compared, options.name, got.shape.text(),
                   index_text(got.shape, verdict.worst_index), verdict.worst_index,
                   verdict.worst_got, verdict.worst_want, verdict.worst_bound,
                   locate(got.shape, wrong)));
}

/// Every element, compared or not: written, and not NaN where nothing can make it so.
void look_at_all(Verdict& verdict, const Tensor& got, const Tally& tally, const Bounds& bounds,
                 const BoundTestOptions& options, bool reference_finite) {
  std::int64_t first = -1;
  const std::int64_t unwritten = count_poison(got, &first);
  if (unwritten > 0) {
    verdict.n_wrong = unwritten;
    fail(verdict, "written",
         fmt::format("written: {} of {} elements of {} {} were not written (or were made from what "
                     "the output held before the call); first at {} (flat {})",
                     unwritten, got.elements(), options.name, got.shape.text(),
                     index_text(got.shape, first), first));
  }
  if (!options.operands_finite || !reference_finite || !bounds.placement.empty() ||
      !tally.misplaced.empty()) {
    return;
  }
  for (std::int64_t i = 0; i < got.elements(); ++i) {
    if (!std::isnan(value_at(got, i))) continue;
    verdict.n_wrong = 1;
    fail(verdict, "nonfinite",
         fmt::format("nonfinite: {} {} holds NaN at {} (flat {}) although all operands and all {} "
                     "compared references are finite",
                     options.name, got.shape.text(), index_text(got.shape, i), i,
                     verdict.n_compared));
    return;
  }
}

void rms_test(Verdict& verdict, const Tensor& got, const Tally& tally, const Bounds& bounds,
              const BoundTestOptions& options) {
  if (tally.stat_count == 0) return;
  const double mean = tally.stat_sum / static_cast<double>(tally.stat_count);
  verdict.rms_ratio = std::sqrt(mean);
  const auto n =
      static_cast<double>(bounds.independent > 0 ? bounds.independent : tally.stat_count);
  const double limit = 1 + 5 / std::sqrt(n);
  if (mean <= limit) return;
  fail(verdict, "rms",
       fmt::format("rms: every element of {} {} is within its bound, but their errors are together "
                   "too large: RMS(error/T_stat) = {:.3g}, limit {:.3g} over {} elements (an "
                   "accumulator narrower than declared?); worst at {} (flat {}): got {:.9g}, want "
                   "{:.9g}",
                   options.name, got.shape.text(), verdict.rms_ratio, std::sqrt(limit),
                   tally.stat_count, index_text(got.shape, verdict.worst_index),
                   verdict.worst_index, verdict.worst_got, verdict.worst_want));
}

/// What a dimension of the output is called in messages: the innermost two are M and N.
std::string axis_name(int axis, int rank) {
  if (axis == rank - 1) return "N";
  if (axis == rank - 2) return "M";
  return fmt::format("axis {}", axis);
}

}  // namespace

double round_to(DType dtype, double value) {
  const FloatFormat* format = format_of(dtype);
  if (format == nullptr || !std::isfinite(value) || value == 0) return value;
  const int exponent = std::max(std::ilogb(value), format->min_exponent);
  const double ulp = std::ldexp(1.0, exponent + 1 - format->precision);
  const double rounded = std::nearbyint(value / ulp) * ulp;
  if (std::abs(rounded) <= format->max) return rounded;
  return std::copysign(std::numeric_limits<double>::infinity(), value);
}

Verdict bound_test(const Tensor& got, std::span<const std::int64_t> positions, const Terms& terms,
                   const Bounds& bounds, const BoundTestOptions& options) {
  const Tally tally = tally_of(got, positions, terms, bounds, options.exact);
  Verdict verdict;
  verdict.n_compared = static_cast<std::int64_t>(positions.size());
  if (!tally.ratios.empty() || tally.worst_ratio >= 0) verdict.bound_max = tally.worst_ratio;
  verdict.bound_median = median_of(tally.ratios);
  if (!positions.empty()) {
    verdict.worst_index = positions[tally.worst];
    verdict.worst_got = value_at(got, verdict.worst_index);
    verdict.worst_want = terms.column[0][tally.worst];
    verdict.worst_bound = options.exact ? 0 : bound_at(bounds.det, tally.worst);
  }
  const bool reference_finite =
      terms.column.empty() ||
      std::all_of(terms.column[0].begin(), terms.column[0].end(),
                  [&](double want) { return std::isfinite(round_to(got.dtype, want)); });
  look_at_all(verdict, got, tally, bounds, options, reference_finite);
  if (!tally.misplaced.empty()) {
    fail_elements(verdict, got, options, tally.misplaced, "nonfinite");
  }
  if (!tally.wrong.empty()) {
    fail_elements(verdict, got, options, tally.wrong, options.exact ? "exact" : "bound");
  }
  rms_test(verdict, got, tally, bounds, options);
  return verdict;
}

std::string locate(const Shape& shape, std::span<const std::int64_t> wrong) {
  if (wrong.empty()) return "nowhere";
  std::string found;
  std::int64_t stride = 1;
  bool confined = false;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    const std::int64_t extent = shape[axis];
    std::int64_t low = extent;
    std::int64_t high = -1;
    for (const std::int64_t flat : wrong) {
      const std::int64_t index = flat / stride % extent;
      low = std::min(low, index);
      high = std::max(high, index);
    }
    stride *= extent;
    if (extent <= 1 || (low == 0 && high == extent - 1)) continue;
    confined = true;
    const std::string name = axis_name(axis, shape.rank());
    const char* place = high == extent - 1 ? "the last" : low == 0 ? "the first" : "an inner";
    found += fmt::format("{}in {} {} tile ({}…{} of {})", found.empty() ? "" : ", ", place, name,
                         low, high, extent);
  }
  if (!confined) {
    return wrong.size() > 1 ? "not confined to an M or N tile: look at the K loop or the scales"
                            : "a single element";
  }
  return found;
}

}  // namespace pareto
