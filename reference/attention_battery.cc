// Small inputs that between them expose every mutant, for the options of one problem.
#include <algorithm>
#include <cmath>

#include "reference/attention_op.h"

namespace pareto {
namespace {

/// Heads of an input: those of the problem at hand (its group, at most two KV heads), or a fixed
/// number.
struct Heads {
  std::int64_t q = 0;
  std::int64_t kv = 0;
};

struct Size {
  std::int64_t batch = 1;
  std::int64_t seq_q = 1;
  std::int64_t seq_kv = 1;
};

class Battery {
 public:
  explicit Battery(const Problem& like) : like_(like), p_(AttentionProblem::from(like)) {
    constexpr std::int64_t kMaxGroup = 8;
    own_.kv = std::clamp<std::int64_t>(p_.heads_kv, 1, 2);
    own_.q = own_.kv * std::clamp<std::int64_t>(p_.group(), 1, kMaxGroup);
  }

  std::vector<BatteryInput> run() {
    add_exact();
    p_.decode() ? add_decode() : add_prefill();
    add_edges();
    add_long_sums();
    if (nothing_special()) add_options();
    if (nothing_special() && p_.q_dtype == DType::kF32) add_subnormal();
    return std::move(inputs_);
  }

 private:
  Problem sized(Heads heads, Size size) const {
    Problem problem = like_;
    problem.set("batch", size.batch).set("heads_q", heads.q).set("heads_kv", heads.kv);
    problem.set("seq_q", size.seq_q).set("seq_kv", size.seq_kv);
    problem.set("head_dim", p_.head_dim).set("head_dim_v", p_.head_dim_v);
    return problem;
  }

  BatteryInput& add(const std::string& distribution, Heads heads, Size size) {
    BatteryInput input;
    input.problem = sized(heads, size);
    input.draw = {.distribution = distribution, .seed = 7};
    input.name = distribution + " " + std::to_string(size.batch) + "x" + std::to_string(heads.q) +
                 "/" + std::to_string(heads.kv) + "x" + std::to_string(size.seq_q) + "x" +
                 std::to_string(size.seq_kv);
    return inputs_.emplace_back(std::move(input));
  }

  [[nodiscard]] std::int64_t most_queries(std::int64_t wanted) const {
    return p_.decode() ? std::min(wanted, kAttentionDecodeRows) : wanted;
  }

  void add_exact() {
    if (one_hot_is_exact(p_)) {
      const std::int64_t keys = std::min<std::int64_t>(one_hot_capacity(p_.head_dim), 49);
      add("one_hot", own_, {2, most_queries(33), keys}).exact = true;
    }
    // One query sees window_left + 1 keys at most; their number must be a power of two.
    std::int64_t keys = 64;
    while (p_.window_left >= 0 && keys > p_.window_left + 1) keys /= 2;
    const bool cut = p_.mask == AttentionMask::kCausalTopLeft && p_.window_right > 0;
    if (!cut) add("equal_weights", own_, {1, 1, keys}).exact = true;
  }

  void add_decode() {
    add("planted", own_, {1, 16, 129});
    add("planted", {2, 1}, {2, 1, 1100});
    add("normal", own_, {4, 3, 65});
    add("outlier", {2, 2}, {2, 5, 64});
    add("integer", {4, 2}, {1, 16, 31});
    add("uniform", {3, 1}, {1, 2, 257});
    add("normal", {2, 2}, {2, 9, 4});
  }

  void add_prefill() {
    add("planted", own_, {1, 66, 130});
    add("planted", {2, 1}, {1, 33, 1100});
    add("normal", own_, {4, 33, 65});
    add("outlier", {2, 2}, {1, 64, 64});
    add("integer", {4, 2}, {2, 17, 31});
    add("uniform", {2, 1}, {1, 200, 40});
    add("normal", {2, 2}, {2, 40, 17});
  }

  void add_edges() {
    add("unseen", {4, 2}, {5, most_queries(21), 50});
    if (size_of(p_.q_dtype) > 1 && size_of(p_.kv_dtype) > 1) {
      add("nonfinite", {4, 2}, {2, most_queries(19), 37});
    }
    if (size_of(p_.kv_dtype) == 1) add("uneven", {4, 2}, {3, most_queries(33), 45});
    add("normal", {1, 1}, {1, 1, 1});
    add("normal", own_, {2, 3, 0});
    add("normal", own_, {2, 0, 5});
  }

  // A narrow accumulator needs many additions of one sign; an output in fp32 shows it.
  void add_long_sums() {
    add("positive", {1, 1}, {1, 3, 2048});
    if (p_.out_dtype != DType::kF32) {
      BatteryInput& input = add("positive", {1, 1}, {1, most_queries(17), 513});
      input.problem.set("out_dtype", "fp32");
      input.name += " out fp32";
    }
  }

  [[nodiscard]] bool nothing_special() const {
    return p_.plain_logits() && !p_.masked() && !p_.has_sinks && p_.has_v &&
           p_.layout == AttentionLayout::kDense && like_.is_default("scale") &&
           like_.word("kv_dtype") == "same" && like_.word("out_dtype") == "same";
  }

  // Numbers that no list of words reaches.
  void add_options() {
    const auto window = [&](std::int64_t left, std::int64_t right, const std::string& mask) {
      BatteryInput& input = add("planted", {2, 1}, {1, most_queries(34), 71});
      input.problem.set("window_left", left).set("window_right", right).set("mask", mask);
      input.name += " window " + std::to_string(left) + ":" + std::to_string(right) + " " + mask;
    };
    window(17, 3, "none");
    window(20, -1, "causal");
    window(-1, 5, "none");
    BatteryInput& capped = add("normal", {2, 1}, {1, most_queries(18), 35});
    capped.problem.set("softcap", 1.5);
    capped.name += " softcap 1.5";
    BatteryInput& scaled = add("normal", {2, 2}, {1, most_queries(18), 35});
    scaled.problem.set("scale", -0.3);
    scaled.name += " scale -0.3";
    BatteryInput& narrow = add("normal", {4, 2}, {1, most_queries(19), 37});
    narrow.problem.set("head_dim", std::int64_t{40}).set("head_dim_v", std::int64_t{24});
    narrow.name += " head_dim 40/24";
    BatteryInput& single = add("normal", {2, 1}, {1, most_queries(5), 9});
    single.problem.set("head_dim", std::int64_t{1}).set("head_dim_v", std::int64_t{1});
    single.name += " head_dim 1/1";
  }

  // Who flushes subnormal operands, and does not declare it, shows. The scale is a power of two,
  // and brings subnormal queries back to normal ones if it is applied to them.
  void add_subnormal() {
    BatteryInput& input = add("subnormal", {2, 1}, {1, most_queries(18), 35});
    input.problem.set("scale", 0x1p20);
    input.name += " scale 2^20";
  }

  const Problem& like_;
  AttentionProblem p_;
  Heads own_;
  std::vector<BatteryInput> inputs_;
};

}  // namespace

std::vector<BatteryInput> attention_battery(const Problem& like) { return Battery(like).run(); }

}  // namespace pareto
