// The contract of a variant: one implementation of one op, in one file, registered at its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "harness/aligned_buffer.h"
#include "harness/arithmetic.h"
#include "harness/isa.h"
#include "harness/op.h"
#include "harness/thread_pool.h"

namespace pareto {

/// What one timed call gets. Operands are indexed by the op's slots. Slots that outlive a call are
/// present only if the variant `keeps_operands`; everything else it took in `prepare`.
struct Call {
  std::span<const Tensor> in;
  std::span<const Tensor> out;
  ThreadPool& pool;
};

/// A variant made ready for one problem: packed weights and workspace. `run` neither allocates nor
/// keeps anything of one call for the next.
class Prepared {
 public:
  virtual ~Prepared() = default;
  virtual void run(const Call& call) = 0;
  /// Bytes of persistent operands as this variant stores them (0 if it keeps the originals).
  [[nodiscard]] virtual std::size_t packed_bytes() const { return 0; }
};

/// A declarative limit on one key; `values` or a range, and the reason that `list` and `plan`
/// print.
struct Limit {
  std::string key;
  std::vector<std::string> values;  ///< legal words; empty: any
  std::int64_t min = std::numeric_limits<std::int64_t>::min();
  std::int64_t max = std::numeric_limits<std::int64_t>::max();
  std::int64_t multiple_of = 1;
  bool operator==(const Limit&) const = default;
};

struct Variant {
  std::string op;
  std::string name;     ///< what differs: "avx512_vnni"
  std::string summary;  ///< one line
  IsaSet needs = 0;
  int needs_cuda = 0;  ///< compute capability × 10 (80, 90); 0: runs on the CPU
  std::vector<Limit> limits;
  /// "" or why this problem is not taken, in words; may be null. Not available to plug-ins.
  std::string (*declines)(const Problem&) = nullptr;
  Arithmetic (*arithmetic)(const Problem&) = nullptr;  ///< null: fp32 FMA, one chain
  /// `in` holds only slots that outlive a call. May throw CannotRunError.
  std::unique_ptr<Prepared> (*prepare)(const Problem&, std::span<const Tensor> in,
                                       ThreadPool&) = nullptr;
  bool keeps_operands = false;  ///< `run` reads the persistent operands as they are
  bool baseline = false;        ///< calls somebody else's library
  bool own_threads = false;     ///< the library brings its own threads
  /// Compute ceiling it is held against, a name of harness/ceilings.h: "fma_fp32" "vnni_int8" …
  std::string unit = "fma_fp32";
  std::string opens;  ///< library that its plug-in opens by this soname at its first call, if any
  // Filled in by the registry.
  std::string library;  ///< plug-in it comes from, with version; empty for our own
  std::string plugin;   ///< path of a plug-in not opened yet
  std::string file;     ///< source file, for messages
  bool operator==(const Variant&) const = default;
};

/// Registers a variant during static initialisation: `const Registration r{{.op = …}};` at the end
/// of its file.
struct Registration {
  explicit Registration(Variant variant);
};

}  // namespace pareto
