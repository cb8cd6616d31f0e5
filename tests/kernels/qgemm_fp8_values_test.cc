// Vectorized quantization of x to fp8 against the codes of the reference: at and beside the middle
// between any two neighbours, below the smallest, beyond the largest.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "harness/isa.h"
#include "kernels/qgemm/quantize_avx2.h"
#include "kernels/qgemm/quantize_avx512.h"
#include "reference/number_formats.h"
#include "reference/quantize.h"

namespace pareto {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Quotients that meet every code, every middle between two and its neighbours in fp32.
std::vector<float> quotients(DType fp8) {
  const bool e5m2 = fp8 == DType::kE5m2;
  const int largest = e5m2 ? 0x7b : 0x7e;
  std::vector<float> found = {0, 1e-30F, 1e6F};
  for (int code = 0; code <= largest; ++code) {
    const auto value = [&](int c) {
      return static_cast<float>(e5m2 ? from_e5m2(static_cast<std::uint8_t>(c))
                                     : from_e4m3(static_cast<std::uint8_t>(c)));
    };
    found.push_back(value(code));
    if (code == largest) break;
    const float middle = (value(code) + value(code + 1)) / 2;
    found.insert(found.end(),
                 {middle, std::nextafter(middle, 0.0F), std::nextafter(middle, kInfinity)});
  }
  const std::size_t magnitudes = found.size();
  for (std::size_t i = 0; i < magnitudes; ++i) found.push_back(-found[i]);
  return found;
}

using ValuesFunction = void (*)(const float* x, std::int64_t count, float scale, DType fp8,
                                float* values);

void expect_codes(ValuesFunction values_of, DType fp8) {
  for (const float scale : {1.0F, 0.37F, 3e5F, 0x1p-3F, 0x1p-127F, 0x1p-149F, 0x1p100F, 0.0F}) {
    std::vector<float> x = quotients(fp8);
    for (float& value : x) value *= scale;
    std::vector<std::uint8_t> codes(x.size());
    quantize_fp8(x, scale, fp8, codes.data());
    // Every length up to a few vectors, from every place: what lies behind stays as it is.
    for (std::size_t count : {std::size_t{1}, std::size_t{7}, std::size_t{18}, x.size()}) {
      for (std::size_t begin = 0; begin + count <= x.size(); begin += count) {
        std::vector<float> values(count + 1, 77);
        values_of(x.data() + begin, static_cast<std::int64_t>(count), scale, fp8, values.data());
        EXPECT_EQ(values[count], 77);
        for (std::size_t i = 0; i < count; ++i) {
          const std::uint8_t code = codes[begin + i];
          EXPECT_EQ(values[i], fp8 == DType::kE5m2 ? from_e5m2(code) : from_e4m3(code))
              << x[begin + i] << " / " << scale;
        }
      }
    }
  }
}

TEST(Fp8Values, OfAvx2AreThoseOfTheReference) {
  if ((isa_here() & static_cast<IsaSet>(Isa::kAvx2Fma)) == 0) GTEST_SKIP() << "no AVX2";
  const ValuesFunction values_of = [](const float* x, std::int64_t count, float scale, DType fp8,
                                      float* values) {
    fp8_values_avx2(x, count, scale, fp8, 1, values);
  };
  for (const DType fp8 : {DType::kE4m3, DType::kE5m2}) expect_codes(values_of, fp8);
}

TEST(Fp8Values, OfAvx512AreThoseOfTheReference) {
  if ((isa_here() & static_cast<IsaSet>(Isa::kAvx512)) == 0) GTEST_SKIP() << "no AVX-512";
  const ValuesFunction values_of = [](const float* x, std::int64_t count, float scale, DType fp8,
                                      float* values) {
    fp8_values_avx512(x, count, scale, fp8, values);
  };
  for (const DType fp8 : {DType::kE4m3, DType::kE5m2}) expect_codes(values_of, fp8);
}

}  // namespace
}  // namespace pareto
