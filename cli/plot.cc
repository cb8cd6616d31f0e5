// pareto plot: the figures of a result file, drawn by the Python package paper/pareto.

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "cli/verbs.h"
#include "harness/errors.h"
#include "harness/result_file.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string file;
  std::string output = "figures";
};

constexpr std::array kModules = {"numpy", "h5py", "pandas", "matplotlib"};

fs::path program_folder() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path();
}

// The first that exists; "" if none does.
fs::path first_existing(const std::vector<fs::path>& candidates) {
  for (const fs::path& candidate : candidates) {
    std::error_code error;
    if (fs::exists(candidate, error)) return candidate;
  }
  return {};
}

std::string find_python() {
  if (const char* chosen = std::getenv("PARETO_PYTHON")) return chosen;
  const fs::path venv =
      first_existing({program_folder() / "venv" / "bin" / "python", "build/venv/bin/python"});
  return venv.empty() ? "python3" : venv.string();
}

fs::path find_package() {
  const fs::path package = first_existing(
      {program_folder().parent_path() / "paper" / "pareto" / "plot.py",
       program_folder().parent_path() / "share" / "pareto" / "paper" / "pareto" / "plot.py",
       "paper/pareto/plot.py"});
  if (package.empty()) {
    throw InputError("paper/pareto/plot.py is neither beside the program nor in this folder");
  }
  return fs::absolute(package.parent_path().parent_path());
}

// Exit status of a program found along PATH; −1 with errno if it cannot be started.
int run_program(const std::vector<std::string>& words) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t child = 0;
  errno = ::posix_spawnp(&child, arguments[0], nullptr, nullptr, arguments.data(), environ);
  if (errno != 0) return -1;
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

[[noreturn]] void refuse(const std::string& python, const std::string& why) {
  throw InputError(fmt::format(
      "python '{}' {} (make build sets up build/venv; $PARETO_PYTHON names another)", python, why));
}

// One start of Python, which tells what it lacks by the bits of its status.
void check_python(const std::string& python) {
  std::string code = "import sys, importlib.util as u; sys.exit(0";
  for (std::size_t i = 0; i < kModules.size(); ++i) {
    code += fmt::format(" + {} * (u.find_spec('{}') is None)", 1 << i, kModules[i]);
  }
  const int status = run_program({python, "-c", code + ")"});
  if (status < 0) refuse(python, fmt::format("cannot be started: {}", std::strerror(errno)));
  std::vector<std::string> missing;
  for (std::size_t i = 0; i < kModules.size(); ++i) {
    if ((status >> i & 1) != 0) missing.emplace_back(kModules[i]);
  }
  if (!missing.empty()) refuse(python, fmt::format("lacks {}", fmt::join(missing, ", ")));
}

void plot(const Options& options) {
  read_result_file(options.file);  // its errors are ours, in one line
  const std::string python = find_python();
  const fs::path package = find_package();
  check_python(python);
  ::setenv("PYTHONPATH", package.c_str(), 1);
  ::setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
  ::setenv("MPLBACKEND", "Agg", 1);
  const int status = run_program({python, "-m", "pareto.plot", options.file, "-o", options.output});
  const auto failed = static_cast<int>(ExitCode::kMachineFailed);
  if (status == failed) throw MachineError(fmt::format("{}: cannot be written", options.output));
  if (status != 0) {
    throw InputError(fmt::format("{}: drawing failed with status {}", options.file, status));
  }
}

}  // namespace

void add_plot_verb(CLI::App& app, int& /*exit_code*/) {
  auto options = std::make_shared<Options>();
  CLI::App* verb = app.add_subcommand(
      "plot",
      "Draws the figures that the experiment asks for (PDF, PNG, LaTeX tables)\n\n"
      "Example: pareto plot results.h5 -o figures");
  verb->add_option("file", options->file, "FILE.h5")->required();
  verb->add_option("-o,--output", options->output, "folder (default: figures)");
  verb->callback([options] { plot(*options); });
}

}  // namespace pareto
