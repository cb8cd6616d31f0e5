// Results of the fp64 references, remembered in memory and on disk.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "harness/op.h"

namespace pareto {

/// Keys are hashes of op, problem, operand bytes, positions and the reference's sources. A damaged
/// or foreign file counts as absent; a folder that cannot be written is done without. Several
/// processes may share the folder. Thread-safe.
class ReferenceCache {
 public:
  struct Limits {
    std::size_t memory_bytes = std::size_t{512} << 20U;
    std::size_t disk_bytes = std::size_t{4} << 30U;
    double min_compute_s = 0.02;  ///< cheaper results are not written to disk
  };

  /// An empty folder means memory only.
  ReferenceCache(std::filesystem::path folder, const Limits& limits);
  explicit ReferenceCache(std::filesystem::path folder)
      : ReferenceCache(std::move(folder), Limits{}) {}

  /// $PARETO_CACHE_DIR/reference, else $XDG_CACHE_HOME or ~/.cache with pareto/reference.
  static ReferenceCache& shared();

  /// Op::reference.
  std::shared_ptr<const ReferenceTerms> terms(const Problem& problem, const Operands& operands,
                                              const Positions& positions, int threads);
  /// Op::original.
  std::shared_ptr<const std::vector<std::vector<double>>> original(const Problem& problem,
                                                                   const TensorMap& inputs,
                                                                   const Positions& positions,
                                                                   int threads);

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const ReferenceTerms> terms;
    std::size_t bytes = 0;
  };
  template <typename Compute>
  std::shared_ptr<const ReferenceTerms> find_or(const std::string& key, Compute compute);
  std::shared_ptr<const ReferenceTerms> in_memory(const std::string& key);
  void remember(const std::string& key, std::shared_ptr<const ReferenceTerms> terms);
  [[nodiscard]] std::shared_ptr<const ReferenceTerms> on_disk(const std::string& key) const;
  void store(const std::string& key, const ReferenceTerms& terms) const;
  void trim_disk() const;

  std::filesystem::path folder_;
  Limits limits_;
  std::mutex mutex_;
  std::list<Entry> recent_;  ///< most recently used first
  std::unordered_map<std::string, std::list<Entry>::iterator> index_;
  std::size_t memory_bytes_ = 0;
};

}  // namespace pareto
