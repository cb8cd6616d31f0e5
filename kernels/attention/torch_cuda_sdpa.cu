// Baseline: PyTorch's scaled_dot_product_attention by its FlashAttention-2 kernels, called through
// the C functions that libtorch_cuda exports for ahead-of-time compiled models: opened at run time,
// so that whatever PyTorch a machine has is measured, and none is needed to build.
//
// The operator has no output argument: its results are copied, which the time includes.
// Layout: device pointers, operands as given; workspace in PyTorch's own pool.
#include <array>
#include <memory>
#include <string>
#include <utility>

#include "harness/cuda_library.h"
#include "harness/device.h"
#include "harness/errors.h"
#include "harness/variant.h"
#include "kernels/attention/cuda_dense.h"
#include "reference/attention.h"

namespace pareto {
namespace {

constexpr const char* kLibrary = "libtorch_cuda.so";

// Stated here because no PyTorch is needed to build: torch/csrc/inductor/aoti_torch/c/shim.h and
// generated/c_shim_cuda.h of PyTorch 2.11 to 2.15. Handles are owned; status 0 is success.
using TensorHandle = void*;
using Status = std::int32_t;

struct TorchLibrary {
  Status (*attend)(TensorHandle q, TensorHandle k, TensorHandle v, double dropout,
                   std::int32_t causal, std::int32_t debug_mask, double* scale, TensorHandle* o,
                   TensorHandle* lse, TensorHandle* starts_q, TensorHandle* starts_k,
                   std::int64_t* longest_q, std::int64_t* longest_k, TensorHandle* random_state,
                   TensorHandle* unused, TensorHandle* debug);
  Status (*from_blob)(void* data, std::int64_t rank, const std::int64_t* sizes,
                      const std::int64_t* strides, std::int64_t offset, std::int32_t dtype,
                      std::int32_t device_type, std::int32_t device, TensorHandle* made);
  Status (*empty)(std::int64_t rank, const std::int64_t* sizes, const std::int64_t* strides,
                  std::int32_t dtype, std::int32_t device_type, std::int32_t device,
                  TensorHandle* made);
  Status (*copy)(TensorHandle to, TensorHandle from, std::int32_t non_blocking);
  Status (*destroy)(TensorHandle);
  Status (*guard_stream)(void* stream, std::int32_t device, void** guard);
  Status (*end_guard)(void* guard);
  std::int32_t cuda;
  std::int32_t bf16;
  std::int32_t fp16;
  std::int32_t fp32;

  static const TorchLibrary& get() {
    static const TorchLibrary instance = open();
    return instance;
  }

 private:
  static TorchLibrary open() {
    void* file = open_cuda_library(kLibrary);
    TorchLibrary l{};
    const auto find = [file]<typename Function>(Function& function, const char* name) {
      function = reinterpret_cast<Function>(cuda_symbol(file, name));
    };
    find(l.attend, "aoti_torch_cuda__scaled_dot_product_flash_attention");
    find(l.from_blob, "aoti_torch_create_tensor_from_blob");
    find(l.empty, "aoti_torch_empty_strided");
    find(l.copy, "aoti_torch_copy_");
    find(l.destroy, "aoti_torch_delete_tensor_object");
    find(l.guard_stream, "aoti_torch_create_cuda_stream_guard");
    find(l.end_guard, "aoti_torch_delete_cuda_stream_guard");
    const auto number = [file](const char* name) {
      return reinterpret_cast<std::int32_t (*)()>(cuda_symbol(file, name))();
    };
    l.cuda = number("aoti_torch_device_type_cuda");
    l.bf16 = number("aoti_torch_dtype_bfloat16");
    l.fp16 = number("aoti_torch_dtype_float16");
    l.fp32 = number("aoti_torch_dtype_float32");
    return l;
  }
};

struct DestroyTensor {
  void operator()(void* handle) const { static_cast<void>(TorchLibrary::get().destroy(handle)); }
};
using TorchTensor = std::unique_ptr<void, DestroyTensor>;

void check_torch(Status status, const char* what) {
  // The library has printed why.
  if (status != 0) throw CannotRunError(std::string("PyTorch: ") + what + " failed");
}

/// What the operator returns, given back in the end.
class Results {
 public:
  ~Results() {
    for (const TensorHandle handle : handles_) {
      if (handle != nullptr) DestroyTensor()(handle);
    }
  }
  TensorHandle* out(std::size_t index) { return &handles_[index]; }
  [[nodiscard]] TensorHandle o() const { return handles_[0]; }
  [[nodiscard]] TensorHandle lse() const { return handles_[1]; }

 private:
  std::array<TensorHandle, 7> handles_{};
};

/// PyTorch's work goes to the harness's stream.
class OnCallStream {
 public:
  OnCallStream() {
    check_torch(TorchLibrary::get().guard_stream(device().stream(), 0, &guard_), "stream guard");
  }
  ~OnCallStream() { static_cast<void>(TorchLibrary::get().end_guard(guard_)); }
  OnCallStream(const OnCallStream&) = delete;
  OnCallStream& operator=(const OnCallStream&) = delete;

 private:
  void* guard_ = nullptr;
};

class TorchCudaSdpa : public Prepared {
 public:
  explicit TorchCudaSdpa(const AttentionProblem& p) : p_(p), torch_(TorchLibrary::get()) {
    // The first tensor of its own starts PyTorch's allocator, which foreign memory does not.
    const std::int64_t one = 1;
    TensorHandle made = nullptr;
    check_torch(torch_.empty(1, &one, &one, torch_.fp32, torch_.cuda, 0, &made), "empty tensor");
    const TorchTensor destroyed(made);
  }

  void run(const Call& call) override {
    if (p_.batch * p_.heads_q * p_.seq_q == 0) return;
    const OnCallStream stream;
    const std::int32_t type = p_.q_dtype == DType::kBf16 ? torch_.bf16 : torch_.fp16;
    const TorchTensor q = view(call.in[kAttentionQ], p_.heads_q, p_.seq_q, type);
    const TorchTensor k = view(call.in[kAttentionK], p_.heads_kv, p_.seq_kv, type);
    const TorchTensor v = view(call.in[kAttentionV], p_.heads_kv, p_.seq_kv, type);
    // A single query at the end sees all keys.
    const bool causal = p_.mask != AttentionMask::kNone && p_.seq_q > 1;
    double scale = p_.scale;
    std::int64_t longest_q = 0;
    std::int64_t longest_k = 0;
    Results results;
    check_torch(
        torch_.attend(q.get(), k.get(), v.get(), 0, causal ? 1 : 0, 0, &scale, results.out(0),
                      results.out(1), results.out(2), results.out(3), &longest_q, &longest_k,
                      results.out(4), results.out(5), results.out(6)),
        "_scaled_dot_product_flash_attention");
    const TorchTensor o = view(call.out[kAttentionO], p_.heads_q, p_.seq_q, type);
    const TorchTensor lse = rows(call.out[kAttentionLse]);
    check_torch(torch_.copy(o.get(), results.o(), 1), "copy");
    check_torch(torch_.copy(lse.get(), results.lse(), 1), "copy");
  }

 private:
  // [batch, heads, rows, head_dim]
  [[nodiscard]] TorchTensor view(const Tensor& tensor, std::int64_t heads, std::int64_t rows,
                                 std::int32_t type) const {
    const std::int64_t sizes[] = {p_.batch, heads, rows, p_.head_dim};
    const std::int64_t strides[] = {heads * rows * p_.head_dim, rows * p_.head_dim, p_.head_dim, 1};
    return of(tensor, 4, sizes, strides, type);
  }
  // [batch, heads, rows]
  [[nodiscard]] TorchTensor rows(const Tensor& tensor) const {
    const std::int64_t sizes[] = {p_.batch, p_.heads_q, p_.seq_q};
    const std::int64_t strides[] = {p_.heads_q * p_.seq_q, p_.seq_q, 1};
    return of(tensor, 3, sizes, strides, torch_.fp32);
  }
  [[nodiscard]] TorchTensor of(const Tensor& tensor, std::int64_t rank, const std::int64_t* sizes,
                               const std::int64_t* strides, std::int32_t type) const {
    TensorHandle made = nullptr;
    check_torch(torch_.from_blob(tensor.data, rank, sizes, strides, 0, type, torch_.cuda, 0, &made),
                "tensor of an operand");
    return TorchTensor(made);
  }

  AttentionProblem p_;
  const TorchLibrary& torch_;
};

std::unique_ptr<Prepared> prepare(const Problem& problem, std::span<const Tensor> /*in*/,
                                  ThreadPool& /*pool*/) {
  return std::make_unique<TorchCudaSdpa>(AttentionProblem::from(problem));
}

std::string declines(const Problem& problem) {
  const AttentionProblem p = AttentionProblem::from(problem);
  if (p.head_dim_v != p.head_dim) return "head_dim_v: the operator wants that of q and k";
  if (p.softcap != 0) return "softcap: the operator has none";
  if (p.scale <= 0) return "scale: the kernels take none of 0 or below";
  if (p.seq_kv == 0) return "no keys: the operator wants at least one";
  if (p.mask == AttentionMask::kCausalTopLeft && p.seq_q != p.seq_kv) {
    return "causal_top_left: only with as many keys as queries";
  }
  if (p.mask == AttentionMask::kCausal && p.seq_q != 1 && p.seq_q != p.seq_kv) {
    return "causal: the operator aligns the first query to the first key";
  }
  return "";
}

Arithmetic arithmetic(const Problem& problem) { return tensor_core_attention(problem, 64, 0); }

const Registration registration{{
    .op = "attention",
    .name = "torch_cuda_sdpa",
    .summary = "PyTorch SDPA on the GPU, its FlashAttention-2 kernels",
    .needs_cuda = 80,
    .limits = cuda_dense_limits({{.key = "dtype", .values = {"bf16", "fp16"}},
                                 {.key = "head_dim", .min = 8, .max = 256, .multiple_of = 8}}),
    .declines = declines,
    .arithmetic = arithmetic,
    .prepare = prepare,
    .keeps_operands = true,
    .baseline = true,
    .unit = "cuda_tensor_bf16",
}};
const NeedsCudaLibrary library("attention/torch_cuda_sdpa", kLibrary);

}  // namespace
}  // namespace pareto
