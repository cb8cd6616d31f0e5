// ggml's CPU backend behind the few things that its baselines need: a graph whose tensors lie in
// the operands, and weights in the layout that the backend likes best.
#pragma once

#include <fmt/format.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "harness/aligned_buffer.h"
#include "harness/provenance.h"
#include "harness/tensor.h"

namespace pareto {

template <auto function>
struct GgmlDelete {
  template <typename T>
  void operator()(T* object) const {
    function(object);
  }
};

inline ggml_type ggml_type_of(DType dtype) {
  switch (dtype) {
    case DType::kBf16:
      return GGML_TYPE_BF16;
    case DType::kF16:
      return GGML_TYPE_F16;
    default:
      return GGML_TYPE_F32;
  }
}

/// One graph on the CPU backend. Tensors are made first, the graph from the last of them; their
/// data may move between calls.
class GgmlGraph {
 public:
  GgmlGraph() : context_(ggml_init({kContextBytes, nullptr, true})), backend_(make_backend()) {}

  /// "ggml 0.9.4"
  static std::string name() { return fmt::format("ggml {}", ggml_version()); }

  [[nodiscard]] ggml_context* context() const { return context_.get(); }

  /// A tensor whose data comes later; extents innermost first.
  [[nodiscard]] ggml_tensor* tensor(ggml_type type, std::initializer_list<std::int64_t> ne) const {
    return ggml_new_tensor(context(), type, static_cast<int>(ne.size()), ne.begin());
  }

  /// Gives a tensor memory of its own.
  ggml_tensor* own(ggml_tensor* tensor) {
    buffers_.emplace_back(static_cast<std::int64_t>(ggml_nbytes(tensor)));
    tensor->data = buffers_.back().data();
    return tensor;
  }

  /// The weight tensor `w` of `product`, filled from `data` and kept in the first layout of the
  /// backend's own (AMX tiles, interleaved rows) that takes the product, as its users' loaders
  /// do; else as it is. Returns the bytes it takes.
  std::size_t load_weight(ggml_tensor* w, const ggml_tensor* product, const void* data) {
    ggml_backend_buffer_type_t layout = ggml_backend_cpu_buffer_type();
    for (ggml_backend_buffer_type_t candidate : extra_layouts()) {
      if (takes(candidate, w, product)) {
        layout = candidate;
        break;
      }
    }
    const std::size_t bytes = ggml_backend_buft_get_alloc_size(layout, w);
    weights_.reset(ggml_backend_buft_alloc_buffer(layout, bytes));
    ggml_backend_tensor_alloc(weights_.get(), w, ggml_backend_buffer_get_base(weights_.get()));
    ggml_backend_tensor_set(w, data, 0, ggml_nbytes(w));
    return bytes;
  }

  void build(ggml_tensor* result) {
    graph_ = ggml_new_graph(context());
    ggml_build_forward_expand(graph_, result);
  }

  void run(int threads) {
    ggml_backend_cpu_set_n_threads(backend_.get(), threads);
    ggml_backend_graph_compute(backend_.get(), graph_);
  }

 private:
  // Of tensors' descriptions; their data lies elsewhere.
  static constexpr std::size_t kContextBytes = 1 << 20;

  static ggml_backend_t make_backend() {
    static const bool noted = [] {
      add_library_version("ggml", ggml_version());
      ggml_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
      return true;
    }();
    (void)noted;
    return ggml_backend_cpu_init();
  }

  [[nodiscard]] ggml_backend_dev_t device() const {
    return ggml_backend_get_device(backend_.get());
  }

  [[nodiscard]] std::vector<ggml_backend_buffer_type_t> extra_layouts() const {
    void* found = ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device()),
                                                    "ggml_backend_dev_get_extra_bufts");
    std::vector<ggml_backend_buffer_type_t> layouts;
    if (found == nullptr) return layouts;
    auto* list = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(found)(device());
    for (; list != nullptr && *list != nullptr; ++list) layouts.push_back(*list);
    return layouts;
  }

  // The backend answers for a tensor that lies in such a buffer: an empty one stands for it.
  [[nodiscard]] bool takes(ggml_backend_buffer_type_t layout, ggml_tensor* w,
                           const ggml_tensor* product) const {
    const std::unique_ptr<ggml_backend_buffer, GgmlDelete<ggml_backend_buffer_free>> trial(
        ggml_backend_buft_alloc_buffer(layout, 0));
    if (trial == nullptr) return false;
    w->buffer = trial.get();
    const bool taken = ggml_backend_dev_supports_op(device(), product);
    w->buffer = nullptr;
    return taken;
  }

  std::unique_ptr<ggml_context, GgmlDelete<ggml_free>> context_;
  std::unique_ptr<ggml_backend, GgmlDelete<ggml_backend_free>> backend_;
  std::unique_ptr<ggml_backend_buffer, GgmlDelete<ggml_backend_buffer_free>> weights_;
  std::vector<AlignedBuffer<std::byte>> buffers_;
  ggml_cgraph* graph_ = nullptr;  // lives in the context
};

}  // namespace pareto
