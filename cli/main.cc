// The program `pareto`: parses the command line, runs one verb, turns errors into exit codes.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "cli/table.h"
#include "cli/verbs.h"
#include "harness/errors.h"

namespace {

constexpr const char* kDescription =
    "Measures the speed and the accuracy of LLM-inference kernels on the same data in the same "
    "run.\n\nExamples:\n"
    "  pareto list --op qgemm\n"
    "  pareto check 'qgemm/.*'\n"
    "  pareto time qgemm --variant avx512_vnni,scalar --set M=16 N=4096 K=4096 scheme=w8a8\n"
    "  pareto run experiments/minilm.toml --quick -o build/minilm\n"
    "  pareto merge build/minilm -o minilm.h5 && pareto show minilm.h5 && pareto plot minilm.h5\n\n"
    "Exit status: 0 good; 1 a check failed or a comparison regressed; 2 bad arguments, file or\n"
    "experiment; 3 nothing could run here; 4 the machine failed (disk, memory, device).";

int report(const std::string& message, pareto::ExitCode code) {
  fmt::print(stderr, "pareto: {}\n", message);
  return static_cast<int>(code);
}

// CLI11 names what it did not expect; add the nearest verb when the verb itself is wrong.
std::string explain(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  std::vector<std::string> verbs;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!verb->get_group().empty()) verbs.push_back(verb->get_name());
  }
  if (argc < 2) return fmt::format("a verb is required; known: {}", fmt::join(verbs, ", "));
  const std::string word = argv[1];
  const bool known = std::find(verbs.begin(), verbs.end(), word) != verbs.end();
  if (known || word.starts_with('-')) {
    return fmt::format("{} (see pareto {} --help)", error.what(), known ? word : "");
  }
  return fmt::format("unknown verb '{}'{}", word, pareto::suggestion(word, verbs));
}

void add_verbs(CLI::App& app, int& exit_code) {
  pareto::add_list_verb(app, exit_code);
  pareto::add_machine_verb(app, exit_code);
  pareto::add_check_verb(app, exit_code);
  pareto::add_time_verb(app, exit_code);
  pareto::add_plan_verb(app, exit_code);
  pareto::add_run_verb(app, exit_code);
  pareto::add_merge_verb(app, exit_code);
  pareto::add_show_verb(app, exit_code);
  pareto::add_compare_verb(app, exit_code);
  pareto::add_plot_verb(app, exit_code);
  pareto::add_export_verb(app, exit_code);
  pareto::add_repro_verb(app, exit_code);
  pareto::add_eval_verb(app, exit_code);
  pareto::add_bench_verb(app, exit_code);
  pareto::add_plugin_manifest_verb(app, exit_code);
}

int run(int argc, char** argv) {
  CLI::App app(kDescription, "pareto");
  app.require_subcommand(1);
  int exit_code = 0;
  add_verbs(app, exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::ParseError& error) {
    return report(explain(app, error, argc, argv), pareto::ExitCode::kBadInput);
  }
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int code = run(argc, argv);
    pareto::print_text("");  // what is still in the buffer of standard output must arrive
    return code;
  } catch (const pareto::Error& error) {
    return report(error.what(), error.code());
  } catch (const std::bad_alloc&) {
    return report("out of memory", pareto::ExitCode::kMachineFailed);
  } catch (const std::exception& error) {
    return report(error.what(), pareto::ExitCode::kMachineFailed);
  }
}
