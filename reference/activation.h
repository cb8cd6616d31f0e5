// The activation functions of qgemm and sparse layers, as eval.md defines them.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <string>
#include <string_view>
#include <vector>

namespace pareto {

enum class Activation : std::uint8_t { kNone, kRelu, kGelu, kSilu, kSigmoid, kTanh };

/// Words of the key `activation`, in the order of the enumeration.
inline std::vector<std::string> activation_words() {
  return {"none", "relu", "gelu", "silu", "sigmoid", "tanh"};
}

/// The activation of a word of `activation_words`; kNone for any other.
inline Activation activation_of(std::string_view word) {
  const std::vector<std::string> words = activation_words();
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == word) return static_cast<Activation>(i);
  }
  return Activation::kNone;
}

/// f(y) in the arithmetic of T. NaN stays NaN; GELU by the error function (erfc keeps its relative
/// accuracy where 1 + erf cancels); gelu(−Inf) and silu(−Inf) are NaN, as the formulas say.
template <typename T>
T activate(Activation activation, T y) {
  switch (activation) {
    case Activation::kNone:
      return y;
    case Activation::kRelu:
      return y < T{0} ? T{0} : y;
    case Activation::kGelu:
      return y * (T{0.5} * std::erfc(-y / std::numbers::sqrt2_v<T>));
    case Activation::kSilu:
      return y / (T{1} + std::exp(-y));
    case Activation::kSigmoid:
      return T{1} / (T{1} + std::exp(-y));
    case Activation::kTanh:
      return std::tanh(y);
  }
  return y;
}

/// Lipschitz constant of f: the factor by which it may enlarge an error of its argument.
inline double lipschitz_of(Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return 1.13;
    case Activation::kSilu:
      return 1.1;
    case Activation::kSigmoid:
      return 0.25;
    default:
      return 1.0;
  }
}

}  // namespace pareto
