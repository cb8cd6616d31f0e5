// Op qgemm: its keys, and its parts put together.
#include <array>

#include "harness/errors.h"
#include "harness/registry.h"
#include "reference/block_q4_k.h"
#include "reference/qgemm_parts.h"
#include "reference/rotated.h"

namespace pareto {
namespace {

Key size_key(const char* name, const char* help) {
  Key key;
  key.name = name;
  key.kind = KeyKind::kSize;
  key.default_value = std::int64_t{1};
  key.help = help;
  return key;
}

// The first word is the default.
Key word_key(const char* name, std::vector<std::string> words, const char* help) {
  Key key;
  key.name = name;
  key.kind = KeyKind::kWord;
  key.default_value = words.front();
  key.words = std::move(words);
  key.help = help;
  return key;
}

std::vector<std::string> scheme_words() {
  std::vector<std::string> words;
  for (const QgemmScheme& scheme : qgemm_schemes()) words.emplace_back(scheme.name);
  return words;
}

std::vector<Key> make_keys() {
  return {
      size_key("M", "rows of x and y: tokens"),
      size_key("N", "rows of w, columns of y: output features"),
      size_key("K", "columns of x and w: input features"),
      word_key("scheme", scheme_words(), "how x and w are compressed"),
      word_key("method", {"rtn"}, "how the scheme's parameters are chosen"),
      word_key("dtype", {"bf16", "fp16"}, "type of x in the schemes with 16-bit activations"),
      word_key("activation", activation_words(), "function applied after the bias, in fp32"),
      word_key("out_dtype", {"fp32", "bf16", "fp16"}, "type of y"),
      word_key("compat", {"none", "ggml"}, "rounding of q8_0, q4_0, q4_k: ours or ggml's"),
      word_key("bias", {"none", "present"}, "whether a bias is added"),
      word_key("operands", {"float", "s8", "u8"}, "float x and w, or x_q of this type and w_q"),
      word_key("x_zero", {"none", "present"}, "zero points of integer x"),
  };
}

const std::array<std::string, kQgemmSlotCount> kSlotNames = {
    "x", "x_scale", "x_zero", "w", "w_scale", "w_zero", "w_tensor_scale", "bias"};

const std::array<std::string, 9> kInputNames = {"x",       "w",      "bias", "x_calib", "x_q",
                                                "x_scale", "x_zero", "w_q",  "w_scale"};

bool has_blocks(const QgemmProblem& p) {
  return p.w_kind == WKind::kQ8Block || p.w_kind == WKind::kQ4Block || p.w_kind == WKind::kQ4kBlock;
}

// Bytes of the scales and zero points of w.
double w_parameter_bytes(const QgemmProblem& p) {
  const auto rows = static_cast<double>(p.N);
  const auto groups = rows * static_cast<double>(p.w_groups());
  switch (p.w_kind) {
    case WKind::kFloat:
    case WKind::kQ8Block:
    case WKind::kQ4Block:
    case WKind::kQ4kBlock:
      return 0;
    case WKind::kS8:
    case WKind::kFp8Row:
      return 4 * rows;
    case WKind::kFp8Block: {
      const std::int64_t row_blocks = (p.N + 127) / 128;
      return 4 * static_cast<double>(row_blocks * p.w_groups());
    }
    case WKind::kInt4:
      return 2 * groups;
    case WKind::kInt4Asym:
      return 2.5 * groups;  // a zero point is worth 4 bits
    case WKind::kNf4:
      return 4 * groups;
    case WKind::kNvfp4:
      return groups + 4;
    default:
      return groups;
  }
}

const char* unit_of(const QgemmProblem& p) {
  if (p.integer_products()) return "vnni_int8";
  return p.x_dtype == DType::kBf16 ? "dot_bf16" : "fma_fp32";
}

Work work_of(const QgemmProblem& p) {
  const auto M = static_cast<double>(p.M);
  const auto N = static_cast<double>(p.N);
  const auto K = static_cast<double>(p.K);
  Work work;
  work.flops = 2 * M * N * K;
  work.compressed_bytes = N * static_cast<double>(p.w_row_bytes()) + w_parameter_bytes(p);
  work.dense16_bytes = 2 * N * K;
  work.bytes = work.compressed_bytes + M * K * static_cast<double>(size_of(p.x_dtype)) +
               M * N * static_cast<double>(size_of(p.out_dtype));
  if (p.has_bias) work.bytes += 4 * N;
  if (p.integer_operands()) work.bytes += 4 * M * N + 4 * M + (p.has_x_zero ? 4 * M : 0);
  if (p.x_kind == XKind::kS8Static) work.bytes += 4;
  work.unit = unit_of(p);
  return work;
}

class QgemmOp : public Op {
 public:
  std::string_view name() const override { return "qgemm"; }
  std::span<const Key> keys() const override { return keys_; }
  std::span<const std::string> slots() const override { return kSlotNames; }

  void complete(Problem& problem) const override {
    const QgemmProblem p = QgemmProblem::from(problem);
    if (p.integer_operands() && p.scheme->name != "w8a8") {
      throw InputError("scheme = " + std::string(p.scheme->name) + " with operands = " +
                       problem.word("operands") + ": integer operands are scheme w8a8");
    }
    if (!p.integer_operands() && problem.word("x_zero") == "present") {
      throw InputError("x_zero = present needs operands = s8 or u8");
    }
    if (p.ggml_rounding && !has_blocks(p)) {
      throw InputError("compat = ggml with scheme = " + std::string(p.scheme->name) +
                       ": only q8_0, q4_0, q4_k and their _a8 schemes have ggml's rounding");
    }
    check_k_limit(p);
  }

  TensorMap draw(const Problem& problem, const Draw& draw) const override {
    return draw_qgemm(problem, draw);
  }
  std::span<const std::string> input_names() const override { return kInputNames; }
  void adopt(Problem& problem, TensorMap& inputs) const override { adopt_qgemm(problem, inputs); }
  void narrow(const Problem& problem, TensorMap& inputs) const override {
    narrow_qgemm(problem, inputs);
  }
  void vary(const Problem& problem, TensorMap& inputs, std::int64_t content) const override {
    vary_qgemm(problem, inputs, content);
  }
  Operands encode(const Problem& problem, const TensorMap& inputs) const override {
    return encode_qgemm(problem, inputs);
  }

  bool persistent(const Problem& problem, int slot) const override {
    switch (slot) {
      case kQgemmX:
      case kQgemmXZero:
        return false;
      case kQgemmXScale:
        return problem.word("operands") == "float";
      default:
        return true;
    }
  }

  // Codes and scales of other rows are valid whatever stood there before: so it is with the blocks
  // of fp8_e4m3_block128, whose rows and scales move apart.
  Operands rotated(const Problem& problem, const Operands& operands,
                   std::int64_t by) const override {
    Operands rotated = operands;
    for (int slot = 0; slot < kQgemmSlotCount; ++slot) {
      if (persistent(problem, slot)) {
        rotated[static_cast<std::size_t>(slot)] =
            rotated_rows(operands[static_cast<std::size_t>(slot)], by);
      }
    }
    return rotated;
  }

  std::vector<OutputSpec> outputs(const Problem& problem, const Operands&) const override {
    const QgemmProblem p = QgemmProblem::from(problem);
    std::vector<OutputSpec> specs = {{"y", p.out_dtype, Shape{p.M, p.N}}};
    if (p.integer_operands()) specs.push_back({"acc", DType::kS32, Shape{p.M, p.N}});
    return specs;
  }

  Positions positions(const Problem& problem, const Operands&, std::uint64_t seed) const override {
    return qgemm_positions(QgemmProblem::from(problem), seed);
  }
  ReferenceTerms reference(const Problem& problem, const Operands& operands,
                           const Positions& positions, int threads) const override {
    return qgemm_reference(problem, operands, positions, threads);
  }
  std::vector<std::vector<double>> original(const Problem& problem, const TensorMap& inputs,
                                            const Positions& positions,
                                            int threads) const override {
    return qgemm_original(problem, inputs, positions, threads);
  }
  Bounds bound(const Problem& problem, int output, const Terms& terms,
               const Arithmetic& arithmetic) const override {
    return qgemm_bound(QgemmProblem::from(problem), output, terms, arithmetic);
  }
  Work work(const Problem& problem, const Operands&) const override { return estimate(problem); }
  Work estimate(const Problem& problem) const override {
    return work_of(QgemmProblem::from(problem));
  }

  std::vector<BatteryInput> battery(const Problem& like) const override {
    return qgemm_battery(like);
  }
  std::vector<Mutant> mutants(const Problem& like) const override { return qgemm_mutants(like); }
  Outputs mutate(std::string_view mutant, const Problem& problem,
                 const Operands& operands) const override {
    return mutate_qgemm(mutant, problem, operands);
  }

 private:
  std::vector<Key> keys_ = make_keys();
};

const OpRegistration kRegistration(std::make_unique<QgemmOp>());

}  // namespace
}  // namespace pareto
