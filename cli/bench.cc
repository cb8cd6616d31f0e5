// pareto bench: the cases of an experiment as Google Benchmarks, timed by the same calls.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/experiment_options.h"
#include "cli/verbs.h"
#include "harness/contents.h"
#include "harness/errors.h"
#include "harness/machine.h"
#include "harness/measured_call.h"
#include "harness/registry.h"

namespace pareto {
namespace {

// Samples between two swaps of contents, as in a measured run.
constexpr int kBlockSamples = 4;
constexpr int kContents = 3;

// `experiments/bench.toml` here, or where an installation keeps it.
std::string default_experiment() {
  namespace fs = std::filesystem;
  const fs::path local = "experiments/bench.toml";
  if (fs::exists(local)) return local.string();
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const fs::path& root : {program.parent_path() / "share" / "pareto", program.parent_path()}) {
    if (fs::exists(root / local)) return (root / local).string();
  }
  return local.string();
}

// One case; operands are made when its benchmark starts and kept for its repetitions.
class BenchCase {
 public:
  explicit BenchCase(Case subject) : case_(std::move(subject)) {}

  void run(benchmark::State& state) {
    try {
      make_ready();
    } catch (const Error& error) {
      failed_ = failed_ || error.code() == ExitCode::kCheckFailed;
      state.SkipWithError(error.what());
      return;
    }
    int sample = 0;
    for (auto _ : state) {
      if (sample == 0) call_->begin_visit();
      call_->before_sample();
      state.SetIterationTime(call_->sample(1));
      if (++sample == kBlockSamples) {
        call_->end_visit();
        sample = 0;
      }
    }
    if (sample != 0) call_->end_visit();
    if (!call_->failure().empty()) {
      failed_ = true;
      state.SkipWithError(call_->failure().c_str());
    }
    const Work work = contents_->work();
    state.counters["FLOP/s"] =
        benchmark::Counter(work.flops, benchmark::Counter::kIsIterationInvariantRate);
    state.counters["B/s"] = benchmark::Counter(
        work.bytes, benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1024);
    state.counters["rel_error"] = call_->agreement().total.rel_fro;
  }

  /// A check of one of our own variants failed; those of baselines are shown only.
  [[nodiscard]] bool fails_the_run() const { return failed_ && !case_.variant->baseline; }

 private:
  void make_ready() {
    if (call_ == nullptr) {
      pool_ = std::make_unique<ThreadPool>(case_.threads, this_machine().pinning(case_.threads));
      contents_ =
          std::make_unique<Contents>(case_.problem, case_.source, kContents, this_machine().cores);
      call_ = std::make_unique<MeasuredCall>(case_, *contents_, *pool_);
    }
    if (!call_->failure().empty()) {
      throw Error(ExitCode::kCheckFailed, call_->failure());
    }
  }

  Case case_;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Contents> contents_;
  std::unique_ptr<MeasuredCall> call_;
  bool failed_ = false;
};

void bench(const ExperimentOptions& options, const std::vector<std::string>& rest, int& exit_code) {
  const PlannedExperiment planned = plan_experiment(options);
  std::vector<std::unique_ptr<BenchCase>> cases;
  for (const Group& group : planned.plan.groups) {
    for (const Case& subject : group.cases) {
      cases.push_back(std::make_unique<BenchCase>(subject));
      BenchCase* bench_case = cases.back().get();
      benchmark::RegisterBenchmark(
          subject.text().c_str(), [bench_case](benchmark::State& state) { bench_case->run(state); })
          ->UseManualTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }
  std::vector<std::string> words = {"pareto bench"};
  words.insert(words.end(), rest.begin(), rest.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (count > 1) {
    throw InputError(fmt::format("bench: '{}' is no option of Google Benchmark", arguments[1]));
  }
  if (cases.empty()) throw CannotRunError("no case of this experiment can run here");
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  if (std::any_of(cases.begin(), cases.end(), [](const auto& c) { return c->fails_the_run(); })) {
    exit_code = static_cast<int>(ExitCode::kCheckFailed);
  }
}

}  // namespace

void add_bench_verb(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<ExperimentOptions>();
  CLI::App* verb = app.add_subcommand(
      "bench", "The cases of an experiment as Google Benchmarks (manual time, same calls)");
  verb->add_option("experiment", options->path,
                   "EXPERIMENT.toml (default: experiments/bench.toml)");
  verb->add_option("--filter", options->filter, "as in run");
  verb->add_flag("--quick", options->quick, "as in run");
  verb->allow_extras();
  verb->footer("Options that begin with --benchmark_ go to Google Benchmark.");
  verb->callback([options, verb, &exit_code] {
    std::vector<std::string> rest = verb->remaining();
    // An option of Google Benchmark that comes first must not be taken for the experiment.
    if (options->path.starts_with("--")) {
      rest.insert(rest.begin(), options->path);
      options->path.clear();
    }
    if (options->path.empty()) options->path = default_experiment();
    bench(*options, rest, exit_code);
  });
}

}  // namespace pareto
