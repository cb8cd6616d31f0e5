#include "harness/sign_flips.h"

#include <cmath>

namespace pareto {

bool has_signs(const Tensor& tensor) {
  switch (tensor.dtype) {
    case DType::kF32:
    case DType::kBf16:
    case DType::kF16:
    case DType::kE4m3:
    case DType::kE5m2:
      return tensor.present() && tensor.elements() > 0;
    default:
      return false;
  }
}

void flip_sign(const Tensor& tensor, std::int64_t element) {
  const auto width = static_cast<std::int64_t>(size_of(tensor.dtype));
  tensor.data[element * width + width - 1] ^= std::byte{0x80};  // little-endian: the sign is last
}

std::int64_t row_length(const Tensor& tensor) {
  const std::int64_t last = tensor.shape[tensor.shape.rank() - 1];
  return last > 1 ? last : tensor.elements();
}

void flip_diagonal(const Tensor& tensor, const Diagonal& diagonal) {
  const std::int64_t length = row_length(tensor);
  std::int64_t column = diagonal.column;
  for (std::int64_t row = 0; row < tensor.elements(); row += length) {
    flip_sign(tensor, row + column);
    column += diagonal.stride;
    if (column >= length) column -= length;
  }
}

FlipPlace flip_place(const Problem& problem, const Operands& operands) {
  FlipPlace place;
  std::int64_t most = 0;
  for (std::size_t slot = 0; slot < operands.size(); ++slot) {
    const HostTensor& operand = operands[slot];
    if (!operand.present() || !has_signs(operand.view()) || operand.elements() <= most) continue;
    if (problem.op().persistent(problem, static_cast<int>(slot))) continue;
    most = operand.elements();
    place.slot = static_cast<int>(slot);
  }
  if (place.slot < 0) return place;
  const HostTensor& operand = operands[static_cast<std::size_t>(place.slot)];
  place.element = operand.elements() * 2 / 3;
  const auto fits = [&] {
    const double value = operand.value(place.element);
    return value != 0 && std::isfinite(value);
  };
  while (place.element < operand.elements() && !fits()) ++place.element;
  if (place.element == operand.elements()) place.slot = -1;
  return place;
}

}  // namespace pareto
