// A case: one variant on one problem with one kind of input, thread count and cache state.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "harness/problem.h"
#include "harness/tensor.h"
#include "harness/variant.h"

namespace pareto {

/// Where a case's tensors come from.
struct Source {
  std::string distribution = "normal";
  std::uint64_t seed = 1;
  std::string file;     ///< distribution `file`: path as given; not part of the hash
  std::string tensor;   ///< dataset group inside the file
  std::string content;  ///< hash of what lies there
  bool operator==(const Source&) const = default;
};

struct Case {
  const Variant* variant = nullptr;
  Problem problem;
  Source source;
  int threads = 1;
  std::string cache = "warm";  ///< "warm" or "cold"
  std::string shape;           ///< name of the row of sizes, for people only
  std::string hash;            ///< 16 hex digits over every word of the case
  std::string group;  ///< the same without variant, scheme, method, format, dtype, kv_dtype

  /// "qgemm/avx512 w8a8 rtn normal M=16 … threads=1 cache=warm": what --filter searches.
  [[nodiscard]] std::string text() const;
  /// "pareto time qgemm --variant avx512 --threads 1 --cache warm --set M=16 … seed=1": repeats it.
  [[nodiscard]] std::string command() const;
};

/// Keys that vary inside a group.
bool varies_inside_group(const std::string& key);

/// What a problem adds to the hashes of its cases, for many cases of one problem.
struct ProblemWords {
  std::string all;
  std::string shared;  ///< without what varies inside a group
};
ProblemWords words_of(const Problem& problem);

/// Fills in `hash` and `group`.
void identify(Case& subject, const ProblemWords& words);
void identify(Case& subject);

/// Hash of names, shapes and bytes: `Source::content`.
std::string content_hash(const TensorMap& inputs);

/// Sizes of a problem whose tensors come from a file: those of the tensors, then cut down to the
/// settings (key, text) that were given for it. InputError if they cannot be cut to that.
void take_sizes(Problem& problem, TensorMap inputs,
                const std::vector<std::pair<std::string, std::string>>& settings);

/// The original inputs of a source: drawn, or read from its file and narrowed to the problem's
/// sizes. `content` numbers different inputs of the same case (for a
/// file's, see Op::vary).
TensorMap original_inputs(const Problem& problem, const Source& source, std::int64_t content);

}  // namespace pareto
