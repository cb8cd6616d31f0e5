// PyTorch's CPU kernels (ATen) behind the few things that its baselines need: views of operands,
// the number of threads, and operators that have no header. PyTorch's headers bring an fmt of their
// own, which is not ours: nothing that includes this can use fmt.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <torch/headeronly/version.h>

#include <cstdint>
#include <string>
#include <vector>

#include "harness/provenance.h"
#include "harness/tensor.h"

namespace pareto {

/// What a call of PyTorch needs around it: no gradients, the team's number of threads.
class TorchScope {
 public:
  explicit TorchScope(int threads) {
    static const bool noted = [] {
      add_library_version("PyTorch", TORCH_VERSION);
      return true;
    }();
    (void)noted;
    // The OpenMP runtime may be shared with another library's module, which sets its own number.
    if (at::get_num_threads() != threads) at::set_num_threads(threads);
  }

  /// "PyTorch 2.15.0"
  static std::string name() { return "PyTorch " TORCH_VERSION; }

 private:
  c10::InferenceMode inference_;
};

inline at::ScalarType torch_type(DType dtype) {
  switch (dtype) {
    case DType::kBf16:
      return at::kBFloat16;
    case DType::kF16:
      return at::kHalf;
    case DType::kS8:
      return at::kChar;
    case DType::kU8:
      return at::kByte;
    case DType::kS32:
      return at::kInt;
    case DType::kS64:
      return at::kLong;
    default:
      return at::kFloat;
  }
}

/// A view of `data`, contiguous, in the given shape.
inline at::Tensor torch_view(void* data, at::IntArrayRef shape, at::ScalarType type) {
  return at::from_blob(data, shape, at::TensorOptions().dtype(type));
}

/// A view of an operand or output in its own shape.
inline at::Tensor torch_view(const Tensor& tensor) {
  std::vector<std::int64_t> shape;
  for (int axis = 0; axis < tensor.shape.rank(); ++axis) shape.push_back(tensor.shape[axis]);
  return torch_view(tensor.data, shape, torch_type(tensor.dtype));
}

/// An operator of the dispatcher by name and signature: for those that only Python calls.
template <typename Signature>
c10::TypedOperatorHandle<Signature> torch_operator(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

}  // namespace pareto
