#include "kernels/attention/cudnn_graph.h"

// Functions of cuDNN and CUDA come from the libraries that are opened below.
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>

#include <cstddef>
#include <map>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "harness/cuda_library.h"
#include "harness/device.h"
#include "harness/device_buffer.h"
#include "harness/errors.h"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // what the headers look their functions up in
}

namespace pareto {
namespace {

namespace fe = cudnn_frontend;

enum Uid : std::int64_t { kQ = 1, kK, kV, kO, kLse };

// The runtime first: the headers ask for it by its bare name and get the copy that is loaded.
void open_cudnn() {
  if (fe::cudnn_dlhandle != nullptr) return;
  open_cuda_library(kCudartSoname);
  fe::cudnn_dlhandle = open_cuda_library(kCudnnSoname);
}

void check(const fe::error_t& error) {
  if (error.is_bad()) throw CannotRunError("cuDNN: " + error.err_msg);
}

std::vector<std::int64_t> packed(const std::vector<std::int64_t>& extents) {
  std::vector<std::int64_t> strides(extents.size(), 1);
  for (std::size_t i = extents.size() - 1; i > 0; --i) strides[i - 1] = strides[i] * extents[i];
  return strides;
}

fe::graph::Tensor_attributes input(const char* name, Uid uid,
                                   const std::vector<std::int64_t>& extents) {
  return fe::graph::Tensor_attributes().set_name(name).set_uid(uid).set_dim(extents).set_stride(
      packed(extents));
}

// For a device of this compute capability × 10; 0: the one at hand.
std::shared_ptr<fe::graph::Graph> graph_of(const AttentionProblem& p, int capability) {
  auto graph = std::make_shared<fe::graph::Graph>();
  // Before the first node, which takes a copy of it.
  if (capability > 0) graph->set_sm_version(capability);
  graph
      ->set_io_data_type(p.q_dtype == DType::kBf16 ? fe::DataType_t::BFLOAT16
                                                   : fe::DataType_t::HALF)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  const auto q = graph->tensor(input("q", kQ, {p.batch, p.heads_q, p.seq_q, p.head_dim}));
  const auto k = graph->tensor(input("k", kK, {p.batch, p.heads_kv, p.seq_kv, p.head_dim}));
  const auto v = graph->tensor(input("v", kV, {p.batch, p.heads_kv, p.seq_kv, p.head_dim_v}));
  auto options = fe::graph::SDPA_attributes()
                     .set_name("attention")
                     .set_generate_stats(true)
                     .set_attn_scale(static_cast<float>(p.scale));
  // A single query at the end sees all keys; cuDNN is four times as fast when it is not told to
  // mask.
  const bool sees_all = p.mask == AttentionMask::kCausal && p.seq_q == 1;
  if (p.mask != AttentionMask::kNone && !sees_all) {
    options
        .set_diagonal_alignment(p.mask == AttentionMask::kCausal
                                    ? fe::DiagonalAlignment_t::BOTTOM_RIGHT
                                    : fe::DiagonalAlignment_t::TOP_LEFT)
        .set_diagonal_band_right_bound(0);
  }
  const auto [o, lse] = graph->sdpa(q, k, v, options);
  const std::vector<std::int64_t> o_extents{p.batch, p.heads_q, p.seq_q, p.head_dim_v};
  o->set_output(true).set_uid(kO).set_dim(o_extents).set_stride(packed(o_extents));
  const std::vector<std::int64_t> lse_extents{p.batch, p.heads_q, p.seq_q, 1};
  lse->set_output(true)
      .set_uid(kLse)
      .set_data_type(fe::DataType_t::FLOAT)
      .set_dim(lse_extents)
      .set_stride(packed(lse_extents));
  return graph;
}

cudnnHandle_t handle() {
  static cudnnHandle_t instance = [] {
    cudnnHandle_t made = nullptr;
    const auto create =
        reinterpret_cast<decltype(&cudnnCreate)>(cuda_symbol(fe::cudnn_dlhandle, "cudnnCreate"));
    const auto set_stream = reinterpret_cast<decltype(&cudnnSetStream)>(
        cuda_symbol(fe::cudnn_dlhandle, "cudnnSetStream"));
    const cudnnStatus_t created = create(&made);
    if (created != CUDNN_STATUS_SUCCESS) {
      throw CannotRunError("cuDNN: cudnnCreate: status " + std::to_string(created));
    }
    const cudnnStatus_t set = set_stream(made, static_cast<cudaStream_t>(device().stream()));
    if (set != CUDNN_STATUS_SUCCESS) {
      throw CannotRunError("cuDNN: cudnnSetStream: status " + std::to_string(set));
    }
    return made;
  }();
  return instance;
}

}  // namespace

struct CudnnAttention::Plan {
  std::shared_ptr<fe::graph::Graph> graph;
  DeviceBuffer<std::byte> workspace;

  explicit Plan(const AttentionProblem& p) : graph(graph_of(p, 0)) {
    check(graph->build(handle(), {fe::HeurMode_t::A}));
    std::int64_t bytes = 0;
    check(graph->get_workspace_size(bytes));
    workspace = DeviceBuffer<std::byte>(bytes);
  }
};

std::string cudnn_attention_refusal(const AttentionProblem& problem, int capability) {
  open_cudnn();
  const fe::error_t error = graph_of(problem, capability)->validate();
  return error.is_bad() ? error.err_msg : "";
}

CudnnAttention::CudnnAttention(const AttentionProblem& p) {
  open_cudnn();
  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                         std::int64_t, std::int64_t, DType, AttentionMask, double>;
  // Never freed: the device may be gone before static objects are.
  static auto* plans = new std::map<Key, std::shared_ptr<Plan>>;
  const Key key{p.batch,    p.heads_q,    p.heads_kv, p.seq_q, p.seq_kv,
                p.head_dim, p.head_dim_v, p.q_dtype,  p.mask,  p.scale};
  try {
    if (!plans->contains(key)) plans->emplace(key, std::make_shared<Plan>(p));
  } catch (const CannotRunError&) {
    throw;
  } catch (const std::exception& error) {  // the headers throw where they find no driver
    throw CannotRunError(std::string("cuDNN: ") + error.what());
  }
  plan_ = plans->at(key);
}

CudnnAttention::~CudnnAttention() = default;

void CudnnAttention::run(const void* q, const void* k, const void* v, void* o, void* lse) {
  std::unordered_map<std::int64_t, void*> operands = {{kQ, const_cast<void*>(q)},
                                                      {kK, const_cast<void*>(k)},
                                                      {kV, const_cast<void*>(v)},
                                                      {kO, o},
                                                      {kLse, lse}};
  const fe::error_t error = plan_->graph->execute(handle(), operands, plan_->workspace.data());
  if (error.is_bad()) device_failed("cuDNN", error.err_msg.c_str());
}

}  // namespace pareto
