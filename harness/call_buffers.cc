#include "harness/call_buffers.h"

#include <fmt/format.h>

#include <cstring>

#include "harness/poison.h"

namespace pareto {

CallBuffers::CallBuffers(const Variant& variant, const Problem& problem, const Operands& operands,
                         Layout layout)
    : keeps_operands_(variant.keeps_operands) {
  const Op& op = problem.op();
  for (std::size_t slot = 0; slot < operands.size(); ++slot) {
    outlives_.push_back(op.persistent(problem, static_cast<int>(slot)));
    const HostTensor& source = operands[slot];
    GuardedBuffer& buffer = operand_.emplace_back(
        source.present()
            ? GuardedBuffer(fmt::format("operand {} (slot {})", op.slots()[slot], slot),
                            source.dtype(), source.shape(), layout)
            : GuardedBuffer());
    if (source.present()) buffer.fill(source.view());
    hash_.push_back(source.present() ? buffer.content_hash() : 0);
  }
  const std::vector<OutputSpec> specs = op.outputs(problem, operands);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    output_.emplace_back(fmt::format("output {} (output {})", specs[i].name, i), specs[i].dtype,
                         specs[i].shape, layout);
  }
  refresh_views();
  poison_outputs();
}

void CallBuffers::refresh_views() {
  persistent_.clear();
  in_.clear();
  out_.clear();
  for (std::size_t slot = 0; slot < operand_.size(); ++slot) {
    const Tensor& view = operand_[slot].view();
    persistent_.push_back(outlives_[slot] ? view : Tensor{});
    in_.push_back(!outlives_[slot] || keeps_operands_ ? view : Tensor{});
  }
  for (const GuardedBuffer& output : output_) out_.push_back(output.view());
}

void CallBuffers::load_transient(const Operands& operands) {
  for (std::size_t slot = 0; slot < operand_.size(); ++slot) {
    if (outlives_[slot] || !operands[slot].present()) continue;
    operand_[slot].fill(operands[slot].view());
    hash_[slot] = operand_[slot].content_hash();
  }
}

void CallBuffers::seal() {
  for (std::size_t slot = 0; slot < operand_.size(); ++slot) {
    operand_[slot].allow(outlives_[slot] && !keeps_operands_ ? Access::kNone : Access::kRead);
  }
}

void CallBuffers::unseal() {
  for (GuardedBuffer& buffer : operand_) buffer.allow(Access::kReadWrite);
}

void CallBuffers::release_unseen() {
  if (keeps_operands_) return;
  for (std::size_t slot = 0; slot < operand_.size(); ++slot) {
    if (outlives_[slot]) operand_[slot] = GuardedBuffer();
  }
  refresh_views();
}

void CallBuffers::poison_outputs() {
  for (const Tensor& output : out_) poison(output);
}

Outputs CallBuffers::copy_outputs() const {
  Outputs copies;
  for (const Tensor& output : out_) {
    HostTensor& copy = copies.emplace_back(output.dtype, output.shape);
    if (output.bytes() > 0) std::memcpy(copy.view().data, output.data, output.bytes());
  }
  return copies;
}

// One address space can show the same page twice: then a byte written to the one is seen in the
// other.
std::string CallBuffers::output_aliasing(const GuardedBuffer& operand) const {
  for (const GuardedBuffer& output : output_) {
    if (output.view().bytes() == 0) continue;
    volatile std::byte& probe = *output.view().data;
    const std::byte before = probe;
    const std::uint64_t hash = operand.content_hash();
    probe = ~before;
    const bool seen = operand.content_hash() != hash;
    probe = before;
    if (seen) return output.label();
  }
  return "";
}

std::string CallBuffers::damage() const {
  for (const GuardedBuffer& output : output_) {
    if (std::string broken = output.damage(); !broken.empty()) return "guard: " + broken;
  }
  for (std::size_t slot = 0; slot < operand_.size(); ++slot) {
    const GuardedBuffer& buffer = operand_[slot];
    if (!buffer.view().present()) continue;
    if (std::string broken = buffer.damage(); !broken.empty()) return "guard: " + broken;
    if (buffer.content_hash() != hash_[slot]) {
      const std::string alias = output_aliasing(buffer);
      return alias.empty() ? fmt::format("operands: {} was changed in place", buffer.label())
                           : fmt::format("operands: {} is aliased to {}", alias, buffer.label());
    }
  }
  return "";
}

std::size_t CallBuffers::bytes() const {
  std::size_t total = 0;
  for (const GuardedBuffer& buffer : operand_) total += buffer.view().bytes();
  for (const GuardedBuffer& buffer : output_) total += buffer.view().bytes();
  return total;
}

}  // namespace pareto
