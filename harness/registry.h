// All ops and variants that this program knows, and why one cannot run here.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/op.h"
#include "harness/variant.h"

namespace pareto {

/// Registers an op during static initialisation, at the end of reference/<op>.cc.
struct OpRegistration {
  explicit OpRegistration(std::unique_ptr<Op> op);
};

/// Ops in alphabetical order.
std::span<const Op* const> ops();
/// Throws InputError with the nearest name.
const Op& find_op(std::string_view name);

/// Variants of all ops, ours and the plug-ins' manifests, sorted by op and name. Addresses are
/// stable for the life of the program.
std::span<const Variant* const> variants();
/// `name` is short ("avx512") or full ("qgemm/avx512"); throws InputError with the nearest name.
const Variant& find_variant(const Op& op, std::string_view name);
/// "qgemm/avx512_vnni"
std::string full_name(const Variant& variant);

/// "" if the machine has what the variant needs, else the reason ("needs AMX-INT8").
std::string missing_here(const Variant& variant);
/// "" if the variant takes this problem, else why not; asks the limits, then `declines`.
std::string refusal(const Variant& variant, const Problem& problem);
/// "" or why this machine cannot run the variant on this problem with that many threads.
std::string obstacle(const Variant& variant, const Problem& problem, int threads);
/// Arithmetic declared for this problem.
Arithmetic arithmetic_of(const Variant& variant, const Problem& problem);

/// Opens the plug-in behind a variant (RTLD_LOCAL) if that has not happened; returns the variant
/// with its functions. Throws CannotRunError with the loader's reason.
const Variant& open(const Variant& variant);

}  // namespace pareto
