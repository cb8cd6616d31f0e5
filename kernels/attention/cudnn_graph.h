// Attention as a graph of cuDNN 9, opened at run time. Built where cuDNN's headers and
// nvidia-cudnn-frontend are (bootstrap.sh fetches the latter).
#pragma once

#include <memory>
#include <string>

#include "reference/attention.h"

namespace pareto {

inline constexpr const char* kCudnnSoname = "libcudnn.so.9";
/// nvidia-cudnn-frontend calls this copy of the runtime.
inline constexpr const char* kCudartSoname = "libcudart.so.13";

/// "" or why cuDNN does not describe this problem for a device of this compute capability × 10.
/// Needs the library, but no device. CannotRunError if the library cannot be opened.
std::string cudnn_attention_refusal(const AttentionProblem& problem, int capability);

/// One plan on the harness's stream: layout dense, bf16 or fp16, masks none and causal, without
/// windows, softcap, bias, ALiBi and sinks; every extent at least 1.
class CudnnAttention {
 public:
  /// Plans are made once per process for the same problem. CannotRunError with cuDNN's words.
  explicit CudnnAttention(const AttentionProblem& problem);
  ~CudnnAttention();
  CudnnAttention(const CudnnAttention&) = delete;
  CudnnAttention& operator=(const CudnnAttention&) = delete;

  /// Device pointers: q [b,h,s,d], k and v [b,g,n,d|dv], o [b,h,s,dv], lse fp32 [b,h,s].
  void run(const void* q, const void* k, const void* v, void* o, void* lse);

 private:
  struct Plan;
  std::shared_ptr<Plan> plan_;
};

}  // namespace pareto
