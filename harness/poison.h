// A pattern in outputs that shows which elements a call has written.
#pragma once

#include <cstdint>

#include "harness/tensor.h"

namespace pareto {

/// Fills an output with a pattern that arithmetic does not produce: NaNs with a payload of their
/// own, or a sentinel for integers.
void poison(const Tensor& output);
/// The pattern, repeated to eight bytes.
std::uint64_t poison_word(DType dtype);
/// True if element `i` still holds the pattern.
bool is_poison(const Tensor& output, std::int64_t i);
/// Elements that still hold the pattern; `first` receives the lowest flat index (−1: none).
std::int64_t count_poison(const Tensor& output, std::int64_t* first = nullptr);

}  // namespace pareto
