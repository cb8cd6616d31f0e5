#include "harness/audit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <span>
#include <utility>

#include "harness/hash.h"
#include "harness/poison.h"

namespace pareto {
namespace {

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.bytes() == 0 || std::memcmp(a.data, b.data, a.bytes()) == 0;
}

bool same_outputs(std::span<const Tensor> got, const Outputs& want) {
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (!same_bytes(got[i], want[i].view())) return false;
  }
  return true;
}

std::vector<std::int64_t> differing_elements(const Tensor& a, const Tensor& b) {
  const std::size_t width = size_of(a.dtype);
  std::vector<std::int64_t> differing;
  for (std::int64_t i = 0; i < a.elements(); ++i) {
    const std::size_t offset = static_cast<std::size_t>(i) * width;
    if (std::memcmp(a.data + offset, b.data + offset, width) != 0) differing.push_back(i);
  }
  return differing;
}

/// "37 of 4096 elements of y [64, 64] differ; first at flat 12: got 1, verified 2".
std::string difference(const Tensor& got, const Tensor& want) {
  const std::vector<std::int64_t> wrong = differing_elements(got, want);
  return fmt::format(
      "{} of {} elements of {} differ; first at flat {}: got {:.9g}, verified {:.9g}; {}",
      wrong.size(), got.elements(), got.shape.text(), wrong.front(), value_at(got, wrong.front()),
      value_at(want, wrong.front()), locate(got.shape, wrong));
}

}  // namespace

Audit::Audit(std::string variant_name, const AuditOptions& options)
    : variant_name_(std::move(variant_name)), options_(options) {}

void Audit::set_verified(std::int64_t content, Outputs outputs, Expected expected,
                         std::vector<Bounds> bounds) {
  if (verified_.empty() && !options_.own_threads) lingering_ = since_start_.still_running();
  verified_[content] = {std::move(outputs), std::move(expected), std::move(bounds)};
}

std::int64_t Audit::differences(std::int64_t content, std::int64_t other) const {
  if (!has_verified(content) || !has_verified(other)) return -1;
  const Outputs& a = verified_.at(content).outputs;
  const Outputs& b = verified_.at(other).outputs;
  std::int64_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    count += static_cast<std::int64_t>(differing_elements(a[i].view(), b[i].view()).size());
  }
  return count;
}

bool Audit::wants(std::int64_t sample) const {
  if (sample == 0) return true;
  const std::uint64_t draw =
      hash_bytes(std::as_bytes(std::span(&sample, 1)), hash_text(variant_name_, options_.seed));
  return static_cast<double>(draw >> 11U) * 0x1p-53 < options_.fraction;
}

void Audit::poison(CallBuffers& buffers, std::int64_t content) {
  buffers.poison_outputs();
  if (poisoned_++ % 2 == 0 || verified_.size() < 2) return;
  // Who computes only where it sees poison must be found out, too.
  auto other = verified_.upper_bound(content);
  if (other == verified_.end()) other = verified_.begin();
  buffers.fill_outputs(other->second.outputs);
}

void Audit::call_begins() {
  if (!options_.own_threads) {
    since_call_ = ThreadWatch();
    state_ = ProcessState();
  }
  modes_before_ = fp_modes();
  clock_.begin();
  if (!options_.own_threads) processors_ = ProcessorWatch();
}

void Audit::call_ended(const CallBuffers& buffers) {
  sample_ = buffers.output_sample();
  if (!options_.own_threads) {
    const ProcessorWatch::Use use = processors_.since();
    hidden_s_ += std::max(0.0, use.hidden_s);
    used_s_ += use.all_s;
  }
  clock_.end();
  if (!options_.own_threads) changed_state_ = state_.restore();
  modes_after_ = fp_modes();
  set_fp_modes(modes_before_);
}

std::string Audit::written_late(const CallBuffers& buffers) const {
  const std::vector<std::uint64_t> now = buffers.output_sample();
  const auto late = static_cast<std::int64_t>(now.size()) -
                    std::inner_product(now.begin(), now.end(), sample_.begin(), std::int64_t{0},
                                       std::plus<>(), std::equal_to<>());
  if (late == 0) return "";
  return fmt::format(
      "late: work deferred past the timer: {} of {} samples of the outputs changed after run had "
      "returned",
      late, now.size());
}

std::string Audit::compare_outputs(std::span<const Tensor> got, std::int64_t content) const {
  const Verified& verified = verified_.at(content);
  for (std::size_t i = 0; i < got.size(); ++i) {
    std::int64_t first = -1;
    const std::int64_t unwritten = count_poison(got[i], &first);
    if (unwritten == 0) continue;
    return fmt::format(
        "written: a timed call left {} of {} output elements unwritten (first at flat {}) that it "
        "wrote when it was checked: right only for the first calls",
        unwritten, got[i].elements(), first);
  }
  if (!options_.deterministic) {
    const Verdict verdict = verify(verified.expected, verified.bounds, got);
    return verdict.pass ? "" : fmt::format("timed: a timed call is wrong: {}", verdict.message);
  }
  if (same_outputs(got, verified.outputs)) return "";
  for (const auto& [other, results] : verified_) {
    if (results.outputs.empty() || !same_outputs(got, results.outputs)) continue;
    return fmt::format(
        "cached: result cached between calls, or right only for the first calls: a timed call on "
        "content {} left the output of content {}",
        content, other);
  }
  std::string details;
  for (std::size_t i = 0; i < got.size() && details.empty(); ++i) {
    const Tensor& want = verified.outputs[i].view();
    if (!same_bytes(got[i], want)) details = difference(got[i], want);
  }
  return "timed: a timed call differs from the verified call on the same content (right only for "
         "the first calls, or not deterministic): " +
         details;
}

std::string Audit::compare(const CallBuffers& buffers, std::int64_t content) {
  ++audited_;
  const auto named = [&](const std::string& check, const std::string& text) {
    return text.empty() ? "" : fmt::format("{}: {}", check, text);
  };
  std::string problem = options_.deterministic ? written_late(buffers) : "";
  if (problem.empty()) {
    problem = named("fp environment", fp_modes_difference(modes_before_, modes_after_));
  }
  if (problem.empty()) problem = named("process", changed_state_);
  if (problem.empty() && !options_.own_threads) {
    problem = named("threads", since_call_.still_running());
  }
  if (problem.empty()) problem = buffers.damage();
  if (problem.empty()) {
    const Outputs outputs = buffers.copy_outputs();
    problem = compare_outputs(views_of(outputs), content);
  }
  return problem;
}

std::string Audit::finish() const {
  // Less than this is the cost of looking; more than this share would show in the times.
  constexpr double kNoticeableS = 100e-6;
  constexpr double kNoticeableShare = 0.05;
  if (!lingering_.empty()) return "threads: " + lingering_;
  if (!clock_.agree()) {
    return "clock: the clock that times calls is not the kernel's: somebody has replaced it";
  }
  if (hidden_s_ < kNoticeableS || hidden_s_ < kNoticeableShare * used_s_) return "";
  return fmt::format(
      "threads: timed calls brought threads of their own, besides the team that they are given: "
      "{:.0f} % of their processor time",
      100 * hidden_s_ / used_s_);
}

}  // namespace pareto
