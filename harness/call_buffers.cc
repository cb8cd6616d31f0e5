#include "harness/call_buffers.h"

#include <fmt/format.h>

#include <utility>

#include "harness/device.h"
#include "harness/device_tensor.h"
#include "harness/guarded_buffer.h"

namespace pareto {

CallBuffers::CallBuffers(const Variant& variant, const Problem& problem, const Operands& operands,
                         Layout layout)
    : on_device_(variant.needs_cuda > 0), keeps_operands_(variant.keeps_operands) {
  const Op& op = problem.op();
  for (std::size_t slot = 0; slot < operands.size(); ++slot) {
    outlives_.push_back(op.persistent(problem, static_cast<int>(slot)));
    const HostTensor& source = operands[slot];
    Memory& memory = operand_.emplace_back();
    if (source.present()) {
      memory = allocate(fmt::format("operand {} (slot {})", op.slots()[slot], slot), source.dtype(),
                        source.shape(), layout);
      memory->fill(source.view());
    }
    hash_.push_back(source.present() ? memory->content_hash() : 0);
  }
  const std::vector<OutputSpec> specs = op.outputs(problem, operands);
  for (std::size_t i = 0; i < specs.size(); ++i) {
    output_.push_back(allocate(fmt::format("output {} (output {})", specs[i].name, i),
                               specs[i].dtype, specs[i].shape, layout));
  }
  refresh_views();
  poison_outputs();
}

CallBuffers::Memory CallBuffers::allocate(std::string label, DType dtype, const Shape& shape,
                                          Layout layout) const {
  if (on_device_) return std::make_unique<DeviceTensor>(std::move(label), dtype, shape, layout);
  return std::make_unique<GuardedBuffer>(std::move(label), dtype, shape, layout);
}

void CallBuffers::refresh_views() {
  persistent_.clear();
  in_.clear();
  out_.clear();
  for (std::size_t slot = 0; slot < operand_.size(); ++slot) {
    const Tensor view = operand_[slot] == nullptr ? Tensor{} : operand_[slot]->view();
    persistent_.push_back(outlives_[slot] ? view : Tensor{});
    in_.push_back(!outlives_[slot] || keeps_operands_ ? view : Tensor{});
  }
  for (const Memory& output : output_) out_.push_back(output->view());
}

std::span<const Tensor> CallBuffers::scratch() {
  if (scratch_.empty()) {
    for (const Tensor& out : out_) {
      scratch_.push_back(allocate("scratch output", out.dtype, out.shape, Layout::kTimed));
      scratch_views_.push_back(scratch_.back()->view());
    }
  }
  return scratch_views_;
}

std::unique_ptr<Prepared> CallBuffers::prepare(const Variant& variant, const Problem& problem,
                                               ThreadPool& pool) const {
  std::unique_ptr<Prepared> prepared = variant.prepare(problem, persistent_, pool);
  if (on_device_) device().synchronize();
  return prepared;
}

void CallBuffers::run(Prepared& prepared, ThreadPool& pool, std::span<const Tensor> out) const {
  prepared.run({in_, out, pool});
  if (on_device_) device().synchronize();
}

void CallBuffers::load_transient(const Operands& operands) {
  for (std::size_t slot = 0; slot < operand_.size(); ++slot) {
    if (outlives_[slot] || !operands[slot].present()) continue;
    operand_[slot]->fill(operands[slot].view());
    hash_[slot] = operand_[slot]->content_hash();
  }
}

void CallBuffers::seal() {
  for (std::size_t slot = 0; slot < operand_.size(); ++slot) {
    if (operand_[slot] == nullptr) continue;
    operand_[slot]->allow(outlives_[slot] && !keeps_operands_ ? Access::kNone : Access::kRead);
  }
}

void CallBuffers::unseal() {
  for (const Memory& operand : operand_) {
    if (operand != nullptr) operand->allow(Access::kReadWrite);
  }
}

void CallBuffers::release_unseen() {
  if (keeps_operands_) return;
  for (std::size_t slot = 0; slot < operand_.size(); ++slot) {
    if (outlives_[slot]) operand_[slot].reset();
  }
  refresh_views();
}

void CallBuffers::poison_outputs() {
  for (const Memory& output : output_) output->poison();
}

void CallBuffers::fill_outputs(const Outputs& outputs) {
  for (std::size_t i = 0; i < outputs.size(); ++i) output_[i]->fill(outputs[i].view());
}

Outputs CallBuffers::copy_outputs() const {
  Outputs copies;
  for (const Memory& output : output_) {
    HostTensor& copy = copies.emplace_back(output->view().dtype, output->view().shape);
    output->read(copy.view());
  }
  return copies;
}

std::vector<std::uint64_t> CallBuffers::output_sample() const {
  std::vector<std::uint64_t> bits;
  for (const Memory& output : output_) output->append_sample(bits);
  return bits;
}

// One address space can show the same page twice: then a byte written to the one is seen in the
// other.
std::string CallBuffers::output_aliasing(const TensorMemory& operand) const {
  if (on_device_) return "";
  for (const Memory& output : output_) {
    if (output->view().bytes() == 0) continue;
    volatile std::byte& probe = *output->view().data;
    const std::byte before = probe;
    const std::uint64_t hash = operand.content_hash();
    probe = ~before;
    const bool seen = operand.content_hash() != hash;
    probe = before;
    if (seen) return output->label();
  }
  return "";
}

std::string CallBuffers::damage() const {
  for (const Memory& output : output_) {
    if (std::string broken = output->damage(); !broken.empty()) return "guard: " + broken;
  }
  for (std::size_t slot = 0; slot < operand_.size(); ++slot) {
    if (operand_[slot] == nullptr) continue;
    const TensorMemory& memory = *operand_[slot];
    if (std::string broken = memory.damage(); !broken.empty()) return "guard: " + broken;
    if (memory.content_hash() != hash_[slot]) {
      const std::string alias = output_aliasing(memory);
      return alias.empty() ? fmt::format("operands: {} was changed in place", memory.label())
                           : fmt::format("operands: {} is aliased to {}", alias, memory.label());
    }
  }
  return "";
}

std::size_t CallBuffers::bytes() const {
  std::size_t total = 0;
  for (const std::vector<Memory>* side : {&operand_, &output_}) {
    for (const Memory& memory : *side) {
      if (memory != nullptr) total += memory->view().bytes();
    }
  }
  return total;
}

}  // namespace pareto
