// Inputs of a file cut down to smaller sizes, and moved about so that timed calls differ.
#include <algorithm>
#include <array>
#include <cmath>

#include "reference/attention_op.h"

namespace pareto {
namespace {

bool has(const TensorMap& inputs, const std::string& name) { return inputs.count(name) != 0; }

/// The part [0, extent) of every axis.
HostTensor cropped(const HostTensor& source, const std::array<std::int64_t, 4>& extent) {
  HostTensor result(source.dtype(), {extent[0], extent[1], extent[2], extent[3]});
  const std::size_t size = size_of(source.dtype());
  const Shape& from = source.shape();
  std::byte* to = result.view().data;
  for (std::int64_t a = 0; a < extent[0]; ++a) {
    for (std::int64_t b = 0; b < extent[1]; ++b) {
      for (std::int64_t c = 0; c < extent[2]; ++c) {
        const std::int64_t at = ((a * from[1] + b) * from[2] + c) * from[3];
        to = std::copy_n(source.view().data + at * size, extent[3] * size, to);
      }
    }
  }
  return result;
}

/// Extents of a dense problem as far as the user set them; −1: as the file has it.
struct Wanted {
  std::int64_t batch;
  std::int64_t seq_q;
  std::int64_t seq_kv;
};

std::int64_t cut(std::int64_t extent, std::int64_t wanted, bool broadcast) {
  if (wanted < 0 || (broadcast && extent == 1)) return extent;
  return std::min(extent, wanted);
}

void cut_dense(const Wanted& wanted, TensorMap& inputs) {
  for (const char* name : {"q", "k", "v", "bias", "allowed"}) {
    if (!has(inputs, name)) continue;
    HostTensor& tensor = inputs.at(name);
    const bool broadcast = *name == 'b' || *name == 'a';
    const int rank = tensor.shape().rank();
    if (!broadcast && rank != 4) continue;  // refused later, with its reason
    std::array<std::int64_t, 4> extent = {1, 1, 1, 1};
    for (int axis = 0; axis < rank; ++axis) extent[4 - rank + axis] = tensor.shape()[axis];
    HostTensor wide(tensor.dtype(), {extent[0], extent[1], extent[2], extent[3]});
    std::copy_n(tensor.view().data, tensor.view().bytes(), wide.view().data);
    extent[0] = cut(extent[0], wanted.batch, broadcast);
    if (broadcast) extent[3] = cut(extent[3], wanted.seq_kv, true);
    const bool of_keys = *name == 'k' || *name == 'v';
    extent[2] = cut(extent[2], of_keys ? wanted.seq_kv : wanted.seq_q, broadcast);
    tensor = cropped(wide, extent);
  }
}

std::int64_t wanted_size(const Problem& problem, const char* key) {
  return problem.is_default(key) ? -1 : problem.size(key);
}

bool all_finite(const HostTensor& tensor) {
  const std::span<const float> values = tensor.span<float>();
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

/// Moves every block of `block` elements to the place of the one before it, `steps` times.
void rotate_blocks(HostTensor& tensor, std::int64_t block, std::int64_t count, std::int64_t steps) {
  if (count < 2 || block == 0) return;
  const std::span<float> values = tensor.span<float>().first(block * count);
  std::rotate(values.begin(), values.begin() + steps % count * block, values.end());
}

}  // namespace

void attention_narrow(const Problem& problem, TensorMap& inputs) {
  attention_normalize(inputs);
  // Ragged and paged sequences are not cut.
  for (const char* table : {"cu_seqlens_q", "cu_seqlens_kv", "block_table", "seqlens_kv"}) {
    if (has(inputs, table)) return;
  }
  cut_dense({wanted_size(problem, "batch"), wanted_size(problem, "seq_q"),
             wanted_size(problem, "seq_kv")},
            inputs);
}

void attention_vary(const Problem& problem, TensorMap& inputs, std::int64_t content) {
  const AttentionProblem p = AttentionProblem::from(problem);
  if (content == 0) return;
  // Queries change places; padding behind the last sequence stays where it is.
  const std::int64_t queries = p.ragged_q() ? inputs.at("cu_seqlens_q").span<std::int32_t>().back()
                                            : p.batch * p.heads_q * p.seq_q;
  rotate_blocks(inputs.at("q"), p.ragged_q() ? p.heads_q * p.head_dim : p.head_dim, queries,
                content);
  if (p.decode() || p.layout != AttentionLayout::kDense) return;
  for (const char* name : {"k", "v"}) {
    // A non-finite key must not move to where a query sees it.
    if (!has(inputs, name) || !all_finite(inputs.at(name))) continue;
    HostTensor& tensor = inputs.at(name);
    const std::int64_t rows = p.batch * p.heads_kv * p.seq_kv;
    rotate_blocks(tensor, rows > 0 ? tensor.elements() / rows : 0, rows, content);
  }
}

}  // namespace pareto
