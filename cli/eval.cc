// pareto eval: one kernel on the user's own tensors, with the numerics of the documentation.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>

#include "cli/case_options.h"
#include "cli/verbs.h"
#include "harness/affinity.h"
#include "harness/call_buffers.h"
#include "harness/case_record.h"
#include "harness/check_battery.h"
#include "harness/checker.h"
#include "harness/confinement.h"
#include "harness/crash.h"
#include "harness/durable_file.h"
#include "harness/error_metrics.h"
#include "harness/errors.h"
#include "harness/json_text.h"
#include "harness/machine.h"
#include "harness/reference_cache.h"
#include "harness/registry.h"
#include "harness/tensor_file.h"

namespace pareto {
namespace {

using nlohmann::json;

constexpr const char* kReference = "reference";

struct EvalOptions {
  CaseOptions case_options;
  std::string in;
  std::string out;
  std::uint64_t seed = 1;
  bool as_json = false;
};

json to_json(const ErrorMetrics& metrics) {
  return {{"max_abs", number_or_null(metrics.max_abs)},
          {"rms", number_or_null(metrics.rms)},
          {"rel_fro", number_or_null(metrics.rel_fro)},
          {"sqnr_db", number_or_null(metrics.sqnr_db)},
          {"cosine", number_or_null(metrics.cosine)}};
}

// Everything about the user's problem, checked before anything runs.
struct Input {
  Problem problem;
  TensorMap tensors;
  Operands operands;
  std::vector<std::string> ignored;  ///< tensors of the file that are no inputs of this op
};

// A file may hold more than the inputs, but a misspelt `bias` must not vanish without a word.
std::vector<std::string> name_ignored(const Op& op, const TensorMap& tensors,
                                      const std::string& in) {
  const std::span<const std::string> known = op.input_names();
  std::vector<std::string> ignored;
  for (const auto& [name, tensor] : tensors) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    ignored.push_back(name);
    fmt::print(stderr, "note: {}: dataset '{}' is no input of {} and is left aside{}\n", in, name,
               op.name(), suggestion(name, known));
  }
  return ignored;
}

// Sizes and what is present come from the file; whoever gives one as well must mean the same.
void require_as_set(const Problem& problem, const Problem& asked, const std::string& name) {
  for (const Key& key : problem.op().keys()) {
    if (key.name != name) continue;
    const std::string wanted = text_of(key, asked.value(name));
    const std::string of_file = text_of(key, problem.value(name));
    if (wanted == of_file) return;
    throw InputError(
        fmt::format("{} = {} must equal {} of the file = {}", name, wanted, name, of_file));
  }
}

Input read_input(const EvalOptions& options) {
  Input input;
  input.problem = Problem(find_op(options.case_options.op));
  const Op& op = input.problem.op();
  const auto settings = parse_settings(options.case_options.settings);
  for (const auto& [key, value] : settings) input.problem.set_text(key, value);
  const Problem asked = input.problem;
  input.tensors = read_tensors(options.in);
  input.ignored = name_ignored(op, input.tensors, options.in);
  try {
    op.adopt(input.problem, input.tensors);
    op.complete(input.problem);
    for (const auto& [key, value] : settings) require_as_set(input.problem, asked, key);
    input.operands = op.encode(input.problem, input.tensors);
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", options.in, error.what()));
  }
  return input;
}

Positions every_position(const std::vector<OutputSpec>& outputs) {
  Positions positions;
  for (const OutputSpec& output : outputs) {
    positions.emplace_back(output.shape.elements());
    std::iota(positions.back().begin(), positions.back().end(), 0);
  }
  return positions;
}

TensorMap named(const std::vector<OutputSpec>& specs, Outputs&& outputs) {
  TensorMap result;
  for (std::size_t i = 0; i < specs.size(); ++i) result[specs[i].name] = std::move(outputs[i]);
  return result;
}

json evaluate_reference(const Input& input, const EvalOptions& options) {
  const Op& op = input.problem.op();
  const std::vector<OutputSpec> specs = op.outputs(input.problem, input.operands);
  const Positions positions = every_position(specs);
  const ReferenceTerms terms =
      op.reference(input.problem, input.operands, positions, this_machine().cores);
  const auto original = op.original(input.problem, input.tensors, positions, this_machine().cores);
  Outputs outputs;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const std::vector<double>& column = terms[i].column[0];
    const bool integer = specs[i].dtype == DType::kS32;
    HostTensor output(integer ? DType::kS32 : DType::kF64, specs[i].shape);
    for (std::size_t e = 0; e < column.size(); ++e) {
      if (integer) {
        output.span<std::int32_t>()[e] = static_cast<std::int32_t>(column[e]);
      } else {
        output.span<double>()[e] = column[e];
      }
    }
    outputs.push_back(std::move(output));
  }
  write_tensors(options.out, named(specs, std::move(outputs)));
  return {{"status", "reference"},
          {"compression_error", to_json(error_metrics(terms.at(0).column.at(0), original.at(0)))}};
}

json verdict_of(const Input& input, const Variant& variant, const Outputs& outputs,
                std::uint64_t seed) {
  const Expected expected =
      expect(input.problem, input.operands, false, seed, this_machine().cores);
  const std::vector<Tensor> got = views_of(outputs);
  const Verdict verdict =
      verify(expected, bounds_of(expected, arithmetic_of(variant, input.problem)), got);
  const std::vector<double> values = values_at(expected, got);
  const std::vector<double> reference = values_of(expected);
  const std::vector<double> original =
      ReferenceCache::shared()
          .original(input.problem, input.tensors, expected.positions, this_machine().cores)
          ->at(0);
  return {{"status", verdict.pass ? "pass" : "fail"},
          {"check", verdict.check},
          {"message", verdict.message},
          {"bound_max", number_or_null(verdict.bound_max)},
          {"bound_median", number_or_null(verdict.bound_median)},
          {"rms_ratio", number_or_null(verdict.rms_ratio)},
          {"n_compared", verdict.n_compared},
          {"total_error", to_json(error_metrics(values, original))},
          {"kernel_error", to_json(error_metrics(values, reference))},
          {"compression_error", to_json(error_metrics(reference, original))}};
}

json evaluate_variant(const Input& input, const Variant& unopened, const EvalOptions& options) {
  const Variant& variant = open(unopened);
  const int threads = options.case_options.threads;
  ThreadPool pool(threads, this_machine().pinning(threads));
  Outputs outputs;
  {
    const AffinityScope affinity(threads, variant.own_threads);
    CallBuffers buffers(variant, input.problem, input.operands, Layout::kGuardAfter);
    const auto prepared = buffers.prepare(variant, input.problem, pool);
    buffers.seal();
    buffers.poison_outputs();
    buffers.run(*prepared, pool);
    outputs = buffers.copy_outputs();
  }
  json result = verdict_of(input, variant, outputs, options.seed);
  write_tensors(options.out, named(input.problem.op().outputs(input.problem, input.operands),
                                   std::move(outputs)));
  return result;
}

json evaluate(const EvalOptions& options) {
  if (file_of(options.out).empty()) {
    throw InputError(fmt::format("--out '{}': names no file", options.out));
  }
  refuse_to_overwrite(files_of(options.in), "--out", file_of(options.out));
  const Input input = read_input(options);
  if (options.case_options.variants == kReference) {
    json result = evaluate_reference(input, options);
    result["ignored_datasets"] = input.ignored;
    return result;
  }
  const Variant& variant = find_variant(input.problem.op(), options.case_options.variants);
  const std::string reason = obstacle(variant, input.problem, options.case_options.threads);
  if (!reason.empty()) throw CannotRunError(fmt::format("{}: {}", full_name(variant), reason));
  const ChildResult child = run_isolated(
      [&] {
        if (variant.needs_cuda == 0) confine_process();
        return json_text(evaluate_variant(input, variant, options));
      },
      /*timeout_s=*/0);
  if (child.end == ChildEnd::kError) throw Error(child.code, child.message);
  if (child.end != ChildEnd::kReturned) {
    throw MachineError(fmt::format("{}: {}", full_name(variant), child.message));
  }
  json result = json::parse(child.value);
  result["variant"] = full_name(variant);
  result["problem"] = input.problem.text();
  result["ignored_datasets"] = input.ignored;
  return result;
}

void print(const json& result, const std::string& out) {
  fmt::print("{}: {}\n", out, result.at("status").get<std::string>());
  for (const char* name : {"total_error", "kernel_error", "compression_error"}) {
    if (!result.contains(name)) continue;
    fmt::print("  {:<18} rel_fro {} max_abs {}\n", name, result[name]["rel_fro"].dump(),
               result[name]["max_abs"].dump());
  }
  const std::string message = result.value("message", "");
  if (!message.empty()) fmt::print("  {}\n", message);
}

}  // namespace

void add_eval_verb(CLI::App& app, int&) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* verb = app.add_subcommand(
      "eval",
      "One kernel, or the reference, on your own tensors (HDF5, safetensors, Matrix Market)");
  add_case_options(*verb, options->case_options, "its name, or reference");
  verb->add_option(
          "--in", options->in,
          "FILE.h5, FILE.h5:/group, FILE.safetensors, FILE.mtx or FILE.smtx (a matrix: w of "
          "sparse); several joined by commas")
      ->required();
  verb->add_option("--out", options->out, "file to write")->required();
  verb->add_option("--seed", options->seed, "of the compared positions of big problems");
  verb->add_flag("--json", options->as_json, "errors and verdict, machine-readable");
  verb->footer(
      "Example:\n  pareto eval qgemm --variant scalar --set scheme=w8a8 --in layer.h5 --out y.h5\n"
      "--variant reference writes float64 results of the reference.");
  verb->callback([options] {
    const json result = evaluate(*options);
    if (options->as_json) {
      fmt::print("{}\n", json_text(result, 1));
    } else {
      print(result, options->out);
    }
  });
}

}  // namespace pareto
