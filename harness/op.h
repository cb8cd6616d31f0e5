// What the harness asks of an op. One implementation per op, in reference/<op>.cc; the harness
// itself names none.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/arithmetic.h"
#include "harness/problem.h"
#include "harness/tensor.h"

namespace pareto {

/// How inputs are drawn. `content` numbers different inputs of one case.
struct Draw {
  std::string distribution = "normal";  ///< normal uniform integer outlier positive, or a battery's
  std::uint64_t seed = 1;
  std::int64_t content = 0;
};

/// The operands of one call, indexed by the op's slots; absent ones are empty.
using Operands = std::vector<HostTensor>;
/// The outputs of one call, in the order of `Op::outputs`.
using Outputs = std::vector<HostTensor>;

struct OutputSpec {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
};

/// Flat indices of the elements to compare, ascending, one list per output.
using Positions = std::vector<std::vector<std::int64_t>>;

/// What the fp64 reference says of the chosen elements of one output: column 0 is the value, the
/// others are the sums that the op's error bound needs, in an order private to the op.
struct Terms {
  std::vector<std::vector<double>> column;
};
using ReferenceTerms = std::vector<Terms>;  ///< one per output

/// How a non-finite (or finite) element must look.
enum class Placement : std::uint8_t {
  kExact,         ///< NaN where NaN, +Inf where +Inf, −Inf where −Inf, finite where finite
  kAnyNonFinite,  ///< must be non-finite, of either kind
  kAnything,      ///< a declared leak: anything goes
};

/// Limits of the kernel error for the elements of one output, in the order of its positions.
struct Bounds {
  std::vector<double> det;           ///< |got − want| ≤ det
  std::vector<double> stat;          ///< scale of the RMS test; 0: not part of it
  std::vector<Placement> placement;  ///< empty: kExact everywhere
  std::int64_t independent = 0;      ///< n of the RMS test's 1 + 5/√n; 0: count of stat > 0
};

/// One input of the check battery.
struct BatteryInput {
  std::string name;  ///< "exact", "planted_k_tail", "normal 17x33x129"
  Problem problem;
  Draw draw;
  bool exact = false;  ///< outputs must equal the reference bit for bit (−0 equals +0)
};

/// A wrong result made on purpose, which the battery must reject.
struct Mutant {
  std::string name;            ///< "last_k_tile_dropped"
  std::string not_applicable;  ///< why it cannot exist for this problem; empty if it can
};

/// Counted work of one call; everything once.
struct Work {
  double flops = 0;
  double bytes = 0;             ///< operands as stored but for what no token needs, and outputs
  double dense16_bytes = 0;     ///< compressible operands as dense 16-bit values
  double compressed_bytes = 0;  ///< the same operands as stored in this scheme
  std::string unit = "fp32";    ///< which compute ceiling it is held against by default
};

class Op {
 public:
  virtual ~Op() = default;

  [[nodiscard]] virtual std::string_view name() const = 0;
  /// Sizes first, then options, with eval.md's defaults.
  [[nodiscard]] virtual std::span<const Key> keys() const = 0;
  /// Names of the operand slots, for messages and `Operands` indices.
  [[nodiscard]] virtual std::span<const std::string> slots() const = 0;
  /// Derives dependent values (head_dim_v) and rejects impossible combinations (InputError).
  virtual void complete(Problem& problem) const = 0;

  /// Original inputs (fp32, names of eval.md) drawn from a distribution. Shapes depend on problem
  /// and seed only, never on the content number (ragged lengths too).
  [[nodiscard]] virtual TensorMap draw(const Problem& problem, const Draw& draw) const = 0;
  /// The tensors that `adopt` knows; others in a file are left aside, and named to the user.
  [[nodiscard]] virtual std::span<const std::string> input_names() const = 0;
  /// Sizes and presence of options from a file's tensors, into `problem`; validates shapes and
  /// dtypes (InputError naming the dataset). May convert or complete `inputs`.
  virtual void adopt(Problem& problem, TensorMap& inputs) const = 0;
  /// Cuts inputs read from a file down to sizes that `problem` asks for (M below x's rows takes the
  /// first M); sizes that cannot be cut must agree (InputError).
  virtual void narrow(const Problem& problem, TensorMap& inputs) const = 0;
  /// Makes content number `content` of inputs read from a file: what arrives with each call is
  /// rotated or permuted, so that timed calls differ; content 0 leaves everything as it is.
  virtual void vary(const Problem& problem, TensorMap& inputs, std::int64_t content) const = 0;
  /// Rounds, quantizes or prunes: exactly what a kernel is given. InputError for operands that the
  /// scheme refuses, CannotRunError for limits of the operand types (K beyond int32).
  [[nodiscard]] virtual Operands encode(const Problem& problem, const TensorMap& inputs) const = 0;
  /// True if the slot outlives a call (weights; the KV cache in decode): `prepare` sees only these.
  [[nodiscard]] virtual bool persistent(const Problem& problem, int slot) const = 0;
  /// The same operands, but that the rows of what outlives a call (weights; of a KV cache the
  /// channels) are rotated by `by`: other contents that cost as much, for almost every `by`.
  [[nodiscard]] virtual Operands rotated(const Problem& problem, const Operands& operands,
                                         std::int64_t by) const = 0;
  [[nodiscard]] virtual std::vector<OutputSpec> outputs(const Problem& problem,
                                                        const Operands& operands) const = 0;

  /// Elements worth comparing: all of a small problem, a seeded sample plus borders of a big one.
  [[nodiscard]] virtual Positions positions(const Problem& problem, const Operands& operands,
                                            std::uint64_t seed) const = 0;
  /// fp64 on the very operands; uses up to `threads` threads; deterministic for any count.
  [[nodiscard]] virtual ReferenceTerms reference(const Problem& problem, const Operands& operands,
                                                 const Positions& positions, int threads) const = 0;
  /// fp64 on the original inputs, values only (for total and compression error).
  [[nodiscard]] virtual std::vector<std::vector<double>> original(const Problem& problem,
                                                                  const TensorMap& inputs,
                                                                  const Positions& positions,
                                                                  int threads) const = 0;
  /// First-order limits from the terms and a declared arithmetic.
  [[nodiscard]] virtual Bounds bound(const Problem& problem, int output, const Terms& terms,
                                     const Arithmetic& arithmetic) const = 0;
  [[nodiscard]] virtual Work work(const Problem& problem, const Operands& operands) const = 0;
  /// A cheap estimate of `work` and of operand bytes from the sizes alone, for `plan`.
  [[nodiscard]] virtual Work estimate(const Problem& problem) const = 0;

  /// Small problems with the options of `like` (scheme, mask, …) at edge shapes, which between
  /// them expose every mutant; first the exact ones.
  [[nodiscard]] virtual std::vector<BatteryInput> battery(const Problem& like) const = 0;
  [[nodiscard]] virtual std::vector<Mutant> mutants(const Problem& like) const = 0;
  /// Outputs with the named fault, otherwise correct, in the output's dtype.
  [[nodiscard]] virtual Outputs mutate(std::string_view mutant, const Problem& problem,
                                       const Operands& operands) const = 0;
};

}  // namespace pareto
