// pareto merge: case files into one result file.

#include "harness/merge.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cli/table.h"
#include "cli/verbs.h"
#include "harness/errors.h"

namespace pareto {
namespace {

struct Options {
  std::vector<std::string> folders;
  std::string output;
  std::string keep;
  bool skip_damaged = false;
};

void merge(const Options& options) {
  if (options.output.empty()) throw InputError("-o '': names no file");
  const std::vector<std::filesystem::path> folders(options.folders.begin(), options.folders.end());
  const MergeSummary summary =
      merge_cases(folders, options.output,
                  {.keep_newest = options.keep == "newest", .skip_damaged = options.skip_damaged});
  for (const std::string& damaged : summary.damaged) fmt::print(stderr, "left out: {}\n", damaged);
  print_text(fmt::format(
      "{}: {} cases, {} samples{}\n", options.output, summary.cases, summary.samples,
      summary.older == 0 ? "" : fmt::format(", {} older results left out", summary.older)));
}

}  // namespace

void add_merge_verb(CLI::App& app, int& /*exit_code*/) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand(
      "merge",
      "Case files into one result file\n\n"
      "Example: pareto merge runs/node1 runs/node2 -o results.h5\n"
      "Two different results for one case on one machine are refused unless --keep newest;\n"
      "damaged case files are refused by name unless --skip-damaged.");
  verb->add_option("folders", options->folders, "DIR…: folders of case files")->required();
  verb->add_option("-o,--output", options->output, "FILE.h5")->required();
  verb->add_option("--keep", options->keep, "newest: of several results the one finished last")
      ->check(CLI::IsMember({"newest"}));
  verb->add_flag("--skip-damaged", options->skip_damaged, "leave damaged case files out");
  verb->callback([options] { merge(*options); });
}

}  // namespace pareto
