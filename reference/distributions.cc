#include "reference/distributions.h"

#include <algorithm>
#include <cmath>

#include "harness/errors.h"
#include "reference/parallel_rows.h"

namespace pareto {
namespace {

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection that mixes all 64 bits.
std::uint64_t mix(std::uint64_t word) {
  word = (word ^ (word >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  word = (word ^ (word >> 27U)) * 0x94d049bb133111ebULL;
  return word ^ (word >> 31U);
}

// Natural logarithm from basic operations alone, since libm's last bit differs between platforms:
// ln(m·2^e) = e·ln 2 + 2·artanh((m−1)/(m+1)); |t| ≤ 0.172, so 11 terms reach 1e-17.
double portable_log(double value) {
  int exponent = 0;
  double mantissa = std::frexp(value, &exponent);  // [½, 1)
  if (mantissa < 0.70710678118654752) {
    mantissa *= 2;
    --exponent;
  }
  const double t = (mantissa - 1) / (mantissa + 1);
  const double t2 = t * t;
  double sum = 0;
  for (int odd = 21; odd >= 1; odd -= 2) sum = sum * t2 + 1.0 / odd;
  return exponent * 0.69314718055994531 + 2 * t * sum;
}

// e^x for |x| < 100, from basic operations alone like portable_log: 2^n·e^r with |r| ≤ 0.347, where
// 14 terms reach 1e-17.
double portable_exp(double x) {
  const double n = std::rint(x * 1.4426950408889634);
  const double r = x - n * 0.69314718055994531;
  double sum = 1;
  for (int term = 14; term >= 1; --term) sum = 1 + sum * r / term;
  return std::ldexp(sum, static_cast<int>(n));
}

struct NormalPair {
  double first = 0;
  double second = 0;
};

// Marsaglia's polar method; attempt j of pair i is word j of a stream of its own.
NormalPair normal_pair(std::uint64_t key, std::uint64_t pair) {
  const std::uint64_t stream = mix(key ^ mix(pair + 0x9e3779b97f4a7c15ULL));
  for (std::uint64_t attempt = 0;; ++attempt) {
    const std::uint64_t word = random_word(stream, attempt);
    const double u = static_cast<double>(word >> 32U) * 0x1p-31 + 0x1p-32 - 1;
    const double v = static_cast<double>(word & 0xffffffffU) * 0x1p-31 + 0x1p-32 - 1;
    const double s = u * u + v * v;
    if (s >= 1 || s == 0) continue;
    const double factor = std::sqrt(-2 * portable_log(s) / s);
    return {u * factor, v * factor};
  }
}

double normal_at(std::uint64_t key, std::uint64_t i) {
  const NormalPair pair = normal_pair(key, i / 2);
  return i % 2 == 0 ? pair.first : pair.second;
}

void fill_normal(std::uint64_t key, std::int64_t begin, std::int64_t end, float* values) {
  for (std::int64_t i = begin; i < end;) {
    const NormalPair pair = normal_pair(key, static_cast<std::uint64_t>(i / 2));
    if (i % 2 == 0) {
      values[i++] = static_cast<float>(pair.first);
      if (i == end) return;
    }
    values[i++] = static_cast<float>(pair.second);
  }
}

constexpr double kOutlierProbability = 0.001;
constexpr double kOutlierDeviation = 100;

void add_outliers(std::uint64_t key, std::int64_t begin, std::int64_t end, float* values) {
  const std::uint64_t where = mix(key + 1);
  const std::uint64_t size = mix(key + 2);
  for (std::int64_t i = begin; i < end; ++i) {
    const auto counter = static_cast<std::uint64_t>(i);
    if (random_unit(where, counter) >= kOutlierProbability) continue;
    values[i] = static_cast<float>(values[i] + kOutlierDeviation * normal_at(size, counter));
  }
}

constexpr double kScaleDeviation = 0.5;

void scale(std::uint64_t key, std::int64_t begin, std::int64_t end, std::int64_t columns,
           float* values) {
  const std::uint64_t rows = mix(key + 3);
  const std::uint64_t across = mix(key + 4);
  std::int64_t row = -1;
  double of_row = 0;
  for (std::int64_t i = begin; i < end; ++i) {
    if (i / columns != row) {
      row = i / columns;
      of_row = kScaleDeviation * normal_at(rows, static_cast<std::uint64_t>(row));
    }
    const double of_column =
        kScaleDeviation * normal_at(across, static_cast<std::uint64_t>(i % columns));
    values[i] = static_cast<float>(values[i] * portable_exp(of_row + of_column));
  }
}

void fill_part(std::string_view distribution, std::uint64_t key, std::int64_t begin,
               std::int64_t end, std::int64_t columns, float* values) {
  if (distribution == "uniform") {
    for (std::int64_t i = begin; i < end; ++i) {
      // 24 bits: exact in fp32, so that 1 is never reached by rounding.
      const std::uint64_t word = random_word(key, static_cast<std::uint64_t>(i)) >> 40U;
      values[i] = static_cast<float>(static_cast<double>(word) * 0x1p-23 - 1);
    }
    return;
  }
  if (distribution == "integer") {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::uint64_t steps = random_below(key, static_cast<std::uint64_t>(i), 17);
      values[i] = static_cast<float>(steps) - 8;
    }
    return;
  }
  fill_normal(key, begin, end, values);
  if (distribution == "outlier") add_outliers(key, begin, end, values);
  if (distribution == "scaled") scale(key, begin, end, columns, values);
  if (distribution == "positive") {
    for (std::int64_t i = begin; i < end; ++i) values[i] = std::abs(values[i]);
  }
}

const std::vector<std::string>& words() {
  static const std::vector<std::string> list = {"normal",  "uniform",  "integer",
                                                "outlier", "positive", "scaled"};
  return list;
}

}  // namespace

std::span<const std::string> distribution_words() { return words(); }

std::uint64_t random_word(std::uint64_t key, std::uint64_t counter) {
  return mix(mix(counter * 0x9e3779b97f4a7c15ULL + key) ^ key);
}

std::uint64_t stream_key(const Draw& draw, std::string_view tensor) {
  std::uint64_t key = mix(draw.seed + 0x632be59bd9b4e019ULL);
  key = mix(key ^ mix(static_cast<std::uint64_t>(draw.content) + 0x8cb92ba72f3d8dd7ULL));
  for (const char letter : tensor) key = mix(key * 31 + static_cast<unsigned char>(letter));
  return key;
}

std::uint64_t random_below(std::uint64_t key, std::uint64_t counter, std::uint64_t bound) {
  // The high half of the product is uniform to within bound/2^64.
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((static_cast<Wide>(random_word(key, counter)) * bound) >> 64U);
}

double random_unit(std::uint64_t key, std::uint64_t counter) {
  return static_cast<double>(random_word(key, counter) >> 11U) * 0x1p-53;
}

void fill_distribution(std::string_view distribution, std::uint64_t key, std::span<float> values,
                       std::int64_t columns) {
  if (std::find(words().begin(), words().end(), distribution) == words().end()) {
    throw InputError("distribution = '" + std::string(distribution) + "' is not legal" +
                     suggestion(distribution, words()));
  }
  const auto count = static_cast<std::int64_t>(values.size());
  parallel_rows(count, threads_for(count), [&](std::int64_t begin, std::int64_t end) {
    fill_part(distribution, key, begin, end, columns, values.data());
  });
}

void scale_to_subnormals(std::span<float> values, std::int64_t columns) {
  constexpr int kExponents[] = {-130, -69, 50};
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = std::ldexp(values[i], kExponents[i / static_cast<std::size_t>(columns) % 3]);
  }
}

}  // namespace pareto
