// oneDNN behind the few things that its baselines need: one matrix product with its scratchpad, and
// loops on the library's own threads.
#pragma once

#include <fmt/format.h>
#include <omp.h>

#include <cstdint>
#include <dnnl.hpp>
#include <string>
#include <unordered_map>

#include "harness/aligned_buffer.h"
#include "harness/errors.h"
#include "harness/provenance.h"
#include "harness/tensor.h"

namespace pareto {

class OneDnn {
 public:
  /// "oneDNN 2.6.3"
  static std::string name() {
    const dnnl_version_t* v = dnnl_version();
    return fmt::format("oneDNN {}.{}.{}", v->major, v->minor, v->patch);
  }

  /// The one CPU engine; the first call notes version and instruction set in the provenance.
  static const dnnl::engine& engine() {
    static const dnnl::engine instance = [] {
      add_library_version("oneDNN",
                          fmt::format("{}, ISA {:#x}", name(),
                                      static_cast<unsigned>(dnnl_get_effective_cpu_isa())));
      return dnnl::engine(dnnl::engine::kind::cpu, 0);
    }();
    return instance;
  }

  /// Threads of what the calling thread starts from now on. Primitives split their work by the
  /// number at their creation: call it in `prepare` and in `run`.
  static void use_threads(int threads) { omp_set_num_threads(threads); }
};

/// The library's name of an element type.
inline dnnl::memory::data_type onednn_type(DType dtype) {
  using Type = dnnl::memory::data_type;
  switch (dtype) {
    case DType::kBf16:
      return Type::bf16;
    case DType::kF16:
      return Type::f16;
    case DType::kS8:
      return Type::s8;
    case DType::kS32:
      return Type::s32;
    default:
      return Type::f32;
  }
}

/// Calls body(i) for i in [0, count) on the library's threads. `body` must not throw.
template <typename Body>
void onednn_for(std::int64_t count, const Body& body) {
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count; ++i) body(i);
}

/// A primitive with arguments that only change their address.
class OneDnnPrimitive {
 public:
  OneDnnPrimitive() : stream_(OneDnn::engine()) {}

  /// Attributes with a scratchpad of ours, so that `run` does not allocate.
  static dnnl::primitive_attr attributes() {
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return attr;
  }

  /// CannotRunError where the library has nothing for these types on this processor.
  template <typename Primitive>
  typename Primitive::primitive_desc make(const typename Primitive::desc& desc,
                                          const dnnl::primitive_attr& attr) {
    const auto pd = describe<Primitive>(desc, attr);
    primitive_ = Primitive(pd);
    scratchpad_ =
        AlignedBuffer<std::byte>(static_cast<std::int64_t>(pd.scratchpad_desc().get_size()));
    add(DNNL_ARG_SCRATCHPAD, pd.scratchpad_desc(), scratchpad_.data());
    return pd;
  }

  /// `data` may be null if `set` comes before `run`.
  void add(int arg, const dnnl::memory::desc& desc, void* data) {
    arguments_[arg] =
        dnnl::memory(desc, OneDnn::engine(), data == nullptr ? DNNL_MEMORY_NONE : data);
  }

  void set(int arg, const void* data) {
    arguments_.at(arg).set_data_handle(const_cast<void*>(data));
  }

  void run() {
    primitive_.execute(stream_, arguments_);
    stream_.wait();
  }

 private:
  template <typename Primitive>
  static typename Primitive::primitive_desc describe(const typename Primitive::desc& desc,
                                                     const dnnl::primitive_attr& attr) {
    try {
      return {desc, attr, OneDnn::engine()};
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented) throw;
      throw CannotRunError(OneDnn::name() + " has no kernel for these types on this processor");
    }
  }

  dnnl::stream stream_;
  dnnl::primitive primitive_;
  AlignedBuffer<std::byte> scratchpad_;
  std::unordered_map<int, dnnl::memory> arguments_;
};

}  // namespace pareto
