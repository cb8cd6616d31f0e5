// Tensors of a file as a problem: sizes, layout and options from what is there; every refusal names
// the dataset, the value and the limit.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "harness/errors.h"
#include "reference/attention_op.h"

namespace pareto {
namespace {

constexpr std::array<const char*, 4> kTables = {"cu_seqlens_q", "cu_seqlens_kv", "block_table",
                                                "seqlens_kv"};
constexpr std::array<const char*, 6> kFloats = {"q", "k", "v", "bias", "alibi_slopes", "sinks"};

bool has(const TensorMap& inputs, const std::string& name) { return inputs.count(name) != 0; }

const HostTensor& need(const TensorMap& inputs, const std::string& name,
                       const std::string& reason) {
  const auto at = inputs.find(name);
  if (at == inputs.end()) throw InputError(fmt::format("dataset {} is missing: {}", name, reason));
  return at->second;
}

void need_rank(const std::string& name, const HostTensor& tensor, int rank,
               const std::string& layout) {
  if (tensor.shape().rank() == rank) return;
  throw InputError(fmt::format("{} has shape {}, but needs {} dimensions: {}", name,
                               tensor.shape().text(), rank, layout));
}

void need_equal(const std::string& what, std::int64_t value, const std::string& other,
                std::int64_t limit) {
  if (value == limit) return;
  throw InputError(fmt::format("{} = {} must equal {} = {}", what, value, other, limit));
}

HostTensor converted(const HostTensor& source, DType dtype) {
  HostTensor result(dtype, source.shape());
  for (std::int64_t i = 0; i < source.elements(); ++i) {
    const double value = source.value(i);
    if (dtype == DType::kU8) {
      result.span<std::uint8_t>()[i] = value != 0 ? 1 : 0;
    } else {
      result.span<std::int32_t>()[i] = static_cast<std::int32_t>(value);
    }
  }
  return result;
}

bool is_integer(DType dtype) {
  return dtype == DType::kS8 || dtype == DType::kU8 || dtype == DType::kS32;
}

class Adoption {
 public:
  Adoption(Problem& problem, TensorMap& inputs) : problem_(problem), inputs_(inputs) {}

  void run() {
    attention_normalize(inputs_);
    const bool paged = has(inputs_, "block_table") || has(inputs_, "seqlens_kv");
    const bool ragged_q = has(inputs_, "cu_seqlens_q");
    const bool ragged_kv = has(inputs_, "cu_seqlens_kv");
    if (paged && ragged_kv) {
      throw InputError("cu_seqlens_kv does not go with block_table: paged keys use seqlens_kv");
    }
    if (ragged_kv && !ragged_q) need(inputs_, "cu_seqlens_q", "cu_seqlens_kv is there");
    if (ragged_q && !paged) need(inputs_, "cu_seqlens_kv", "cu_seqlens_q is there");
    adopt_layout(paged ? (ragged_q ? "paged_ragged" : "paged") : ragged_q ? "ragged" : "dense");
    adopt_q(ragged_q);
    paged ? adopt_pages() : adopt_kv(ragged_kv);
    adopt_v();
    set_size("batch", batch_);
    set_size("heads_q", heads_q_);
    set_size("heads_kv", heads_kv_);
    set_size("seq_q", seq_q_);
    set_size("seq_kv", seq_kv_);
    set_size("head_dim", head_dim_);
    adopt_options(paged || ragged_kv);
  }

 private:
  void adopt_layout(const std::string& layout) {
    if (!problem_.is_default("layout") && problem_.word("layout") != layout) {
      throw InputError(fmt::format("layout = {}, but the datasets are those of layout {}",
                                   problem_.word("layout"), layout));
    }
    if (!layout.starts_with("paged") && !problem_.is_default("page_size")) {
      throw InputError(fmt::format("page_size = {}, but the datasets are those of layout {}",
                                   problem_.size("page_size"), layout));
    }
    problem_.set("layout", layout);
  }

  // A size from the file; one that was asked for must agree.
  void set_size(const std::string& key, std::int64_t value) {
    if (!problem_.is_default(key)) need_equal(key, problem_.size(key), key + " of the file", value);
    problem_.set(key, value);
  }

  void adopt_q(bool ragged) {
    const HostTensor& q = need(inputs_, "q", "attention needs q and k");
    if (ragged) {
      need_rank("q", q, 3, "[total_q, heads_q, head_dim]");
      batch_ = cumulative("cu_seqlens_q", q.shape()[0], seq_q_);
      heads_q_ = q.shape()[1];
    } else {
      need_rank("q", q, 4, "[batch, heads_q, seq_q, head_dim]");
      batch_ = q.shape()[0];
      heads_q_ = q.shape()[1];
      seq_q_ = q.shape()[2];
    }
    head_dim_ = q.shape()[q.shape().rank() - 1];
    if (head_dim_ < 1) throw InputError("q has head_dim = 0; it must be at least 1");
  }

  void adopt_kv(bool ragged) {
    const HostTensor& k = need(inputs_, "k", "attention needs q and k");
    if (ragged) {
      need_rank("k", k, 3, "[total_kv, heads_kv, head_dim]");
      need_equal("sequences of cu_seqlens_kv", cumulative("cu_seqlens_kv", k.shape()[0], seq_kv_),
                 "sequences of cu_seqlens_q", batch_);
      heads_kv_ = k.shape()[1];
    } else {
      need_rank("k", k, 4, "[batch, heads_kv, seq_kv, head_dim]");
      need_equal("batch of k", k.shape()[0], "batch of q", batch_);
      heads_kv_ = k.shape()[1];
      seq_kv_ = k.shape()[2];
    }
    need_equal("head_dim of k", k.shape()[k.shape().rank() - 1], "head_dim of q", head_dim_);
  }

  void adopt_pages() {
    const HostTensor& k = need(inputs_, "k", "attention needs q and k");
    need_rank("k", k, 4, "[pages, page_size, heads_kv, head_dim]");
    need_equal("head_dim of k", k.shape()[3], "head_dim of q", head_dim_);
    const HostTensor& table = need(inputs_, "block_table", "seqlens_kv is there");
    const HostTensor& lengths = need(inputs_, "seqlens_kv", "block_table is there");
    need_rank("block_table", table, 2, "[batch, max_pages]");
    need_rank("seqlens_kv", lengths, 1, "[batch]");
    need_equal("rows of block_table", table.shape()[0], "batch of q", batch_);
    need_equal("length of seqlens_kv", lengths.shape()[0], "batch of q", batch_);
    const std::int64_t page_size = k.shape()[1];
    if (page_size < 1) throw InputError("k has page_size = 0; it must be at least 1");
    set_size("page_size", page_size);
    heads_kv_ = k.shape()[2];
    const std::int64_t max_pages = table.shape()[1];
    for (std::int64_t b = 0; b < batch_; ++b) {
      const std::int64_t length = lengths.span<std::int32_t>()[b];
      if (length < 0 || length > max_pages * page_size) {
        throw InputError(
            fmt::format("seqlens_kv[{}] = {} must lie in 0…{}, what {} pages of {} hold", b, length,
                        max_pages * page_size, max_pages, page_size));
      }
      seq_kv_ = std::max(seq_kv_, length);
      for (std::int64_t page = 0; page * page_size < length; ++page) {
        const std::int64_t entry = table.span<std::int32_t>()[b * max_pages + page];
        if (entry >= 0 && entry < k.shape()[0]) continue;
        throw InputError(fmt::format("block_table[{}, {}] = {} must lie in 0…{}", b, page, entry,
                                     k.shape()[0] - 1));
      }
    }
  }

  // Validates running sums of lengths; returns the number of sequences and their longest.
  std::int64_t cumulative(const std::string& name, std::int64_t total, std::int64_t& longest) {
    const HostTensor& sums = need(inputs_, name, "the layout is ragged");
    need_rank(name, sums, 1, "[batch + 1]");
    const std::span<const std::int32_t> at = sums.span<std::int32_t>();
    if (at.empty()) throw InputError(name + " is empty; it needs batch + 1 entries");
    if (at[0] != 0) throw InputError(fmt::format("{}[0] = {} must be 0", name, at[0]));
    for (std::size_t b = 1; b < at.size(); ++b) {
      if (at[b] < at[b - 1]) {
        throw InputError(fmt::format("{}[{}] = {} must not be below the entry before it, {}", name,
                                     b, at[b], at[b - 1]));
      }
      longest = std::max<std::int64_t>(longest, at[b] - at[b - 1]);
    }
    if (at.back() > total) {
      throw InputError(fmt::format("{}[{}] = {} must be at most {}, the tokens that there are",
                                   name, at.size() - 1, at.back(), total));
    }
    return static_cast<std::int64_t>(at.size()) - 1;
  }

  void adopt_v() {
    problem_.set("v", std::string(has(inputs_, "v") ? "given" : "none"));
    if (!has(inputs_, "v")) return;
    const Shape& k = inputs_.at("k").shape();
    const Shape& v = inputs_.at("v").shape();
    bool same = k.rank() == v.rank();
    for (int axis = 0; same && axis + 1 < k.rank(); ++axis) same = k[axis] == v[axis];
    if (!same) {
      throw InputError(
          fmt::format("v has shape {}, which must be that of k, {}, but for the last "
                      "dimension",
                      v.text(), k.text()));
    }
    set_size("head_dim_v", v[v.rank() - 1]);
  }

  void adopt_options(bool uneven) {
    adopt_broadcast("bias", uneven);
    adopt_broadcast("allowed", uneven);
    adopt_per_head("alibi_slopes", "alibi");
    adopt_per_head("sinks", "sinks");
  }

  void adopt_per_head(const std::string& name, const std::string& key) {
    problem_.set(key, std::string(has(inputs_, name) ? "given" : "none"));
    if (!has(inputs_, name)) return;
    const HostTensor& tensor = inputs_.at(name);
    need_rank(name, tensor, 1, "[heads_q]");
    need_equal("length of " + name, tensor.shape()[0], "heads_q", heads_q_);
  }

  void adopt_broadcast(const std::string& name, bool uneven) {
    problem_.set(name, std::string("none"));
    if (!has(inputs_, name)) return;
    const Shape& shape = inputs_.at(name).shape();
    const std::int64_t full[] = {batch_, heads_q_, seq_q_, seq_kv_};
    std::array<std::int64_t, 4> extent = {1, 1, 1, 1};
    bool fits = shape.rank() <= 4;
    for (int axis = 0; fits && axis < shape.rank(); ++axis) {
      extent[4 - shape.rank() + axis] = shape[axis];
    }
    for (int axis = 0; axis < 4; ++axis) {
      const bool longer = uneven && axis >= 2 && extent[axis] > full[axis];
      fits = fits && (extent[axis] == 1 || extent[axis] == full[axis] || longer);
    }
    if (!fits) {
      throw InputError(fmt::format(
          "{} has shape {}, which cannot be broadcast to [batch, heads_q, seq_q, seq_kv] = "
          "[{}, {}, {}, {}]",
          name, shape.text(), full[0], full[1], full[2], full[3]));
    }
    const char* word = extent[0] != 1   ? "full"
                       : extent[1] != 1 ? "heads"
                       : extent[2] != 1 ? "shared"
                                        : "keys";
    problem_.set(name, std::string(word));
  }

  Problem& problem_;
  TensorMap& inputs_;
  std::int64_t batch_ = 0;
  std::int64_t heads_q_ = 0;
  std::int64_t heads_kv_ = 0;
  std::int64_t seq_q_ = 0;
  std::int64_t seq_kv_ = 0;
  std::int64_t head_dim_ = 0;
};

}  // namespace

void attention_normalize(TensorMap& inputs) {
  for (const char* name : kFloats) {
    if (has(inputs, name) && inputs.at(name).dtype() != DType::kF32) {
      throw InputError(fmt::format("{} has dtype {}, but must be floating point", name,
                                   name_of(inputs.at(name).dtype())));
    }
  }
  const auto convert = [&](const char* name, DType dtype) {
    if (!has(inputs, name) || inputs.at(name).dtype() == dtype) return;
    if (!is_integer(inputs.at(name).dtype())) {
      throw InputError(fmt::format("{} has dtype {}, but must be {}", name,
                                   name_of(inputs.at(name).dtype()), name_of(dtype)));
    }
    inputs.at(name) = converted(inputs.at(name), dtype);
  };
  for (const char* name : kTables) convert(name, DType::kS32);
  convert("allowed", DType::kU8);
}

void attention_adopt(Problem& problem, TensorMap& inputs) { Adoption(problem, inputs).run(); }

}  // namespace pareto
