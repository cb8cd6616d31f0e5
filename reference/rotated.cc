#include "reference/rotated.h"

#include <algorithm>

namespace pareto {
namespace {

// Rotates each of the spans of `length` parts of `part_bytes` that the tensor consists of.
HostTensor rotated(const HostTensor& tensor, std::int64_t length, std::int64_t part_bytes,
                   std::int64_t by) {
  HostTensor copy = tensor;
  const Tensor& view = copy.view();
  const std::int64_t span = length * part_bytes;
  if (view.bytes() == 0) return copy;
  const std::int64_t middle = by % length * part_bytes;
  const auto bytes = static_cast<std::int64_t>(view.bytes());
  for (std::byte* begin = view.data; begin < view.data + bytes; begin += span) {
    std::rotate(begin, begin + middle, begin + span);
  }
  return copy;
}

}  // namespace

HostTensor rotated_rows(const HostTensor& tensor, std::int64_t by) {
  const Tensor& view = tensor.view();
  if (view.bytes() == 0) return tensor;
  const std::int64_t rows = view.shape[0];
  return rotated(tensor, rows, static_cast<std::int64_t>(view.bytes()) / rows, by);
}

HostTensor rotated_columns(const HostTensor& tensor, std::int64_t by) {
  const Tensor& view = tensor.view();
  if (view.bytes() == 0) return tensor;
  return rotated(tensor, view.shape[view.shape.rank() - 1],
                 static_cast<std::int64_t>(size_of(view.dtype)), by);
}

}  // namespace pareto
