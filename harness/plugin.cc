#include "harness/plugin.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "harness/absent_variants.h"
#include "harness/affinity.h"
#include "harness/errors.h"
#include "harness/machine.h"
#include "harness/registry.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::vector<fs::path> plugin_folders() {
  if (const char* folder = std::getenv("PARETO_PLUGIN_DIR")) return {folder};
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  // A test program lies one folder below the program.
  return {program / "plugins", program.parent_path() / "plugins",
          program.parent_path() / "lib" / "pareto" / "plugins"};
}

json to_json(const Limit& limit) {
  return {{"key", limit.key},
          {"values", limit.values},
          {"min", limit.min},
          {"max", limit.max},
          {"multiple_of", limit.multiple_of}};
}

Limit limit_from(const json& entry) {
  return {.key = entry.at("key"),
          .values = entry.at("values"),
          .min = entry.at("min"),
          .max = entry.at("max"),
          .multiple_of = entry.at("multiple_of")};
}

json to_json(const Variant& variant) {
  json limits = json::array();
  for (const Limit& limit : variant.limits) limits.push_back(to_json(limit));
  return {{"op", variant.op},
          {"name", variant.name},
          {"summary", variant.summary},
          {"needs", variant.needs},
          {"needs_cuda", variant.needs_cuda},
          {"limits", limits},
          {"keeps_operands", variant.keeps_operands},
          {"own_threads", variant.own_threads},
          {"opens", variant.opens},
          {"unit", variant.unit}};
}

Variant variant_from(const json& entry, const std::string& library, const fs::path& plugin) {
  Variant variant;
  variant.op = entry.at("op");
  variant.name = entry.at("name");
  variant.summary = entry.at("summary");
  variant.needs = entry.at("needs");
  variant.needs_cuda = entry.at("needs_cuda");
  for (const json& limit : entry.at("limits")) variant.limits.push_back(limit_from(limit));
  variant.keeps_operands = entry.at("keeps_operands");
  variant.own_threads = entry.at("own_threads");
  variant.opens = entry.value("opens", "");
  variant.unit = entry.at("unit");
  variant.baseline = true;
  variant.library = library;
  variant.plugin = plugin.string();
  return variant;
}

void read_manifest(const fs::path& path, std::vector<Variant>& found) {
  try {
    std::ifstream file(path);
    const json manifest = json::parse(file);
    const fs::path plugin = path.parent_path() / manifest.at("plugin").get<std::string>();
    if (!fs::exists(plugin)) return;
    for (const json& entry : manifest.at("variants")) {
      found.push_back(variant_from(entry, manifest.at("library"), plugin));
    }
  } catch (const json::exception& error) {
    throw InputError(fmt::format("{}: not a plug-in manifest: {}", path.string(), error.what()));
  }
}

constexpr const char* kDynamicLinker = "/lib64/ld-linux-x86-64.so.2";

/// The argument of a shell, whatever is in it.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char letter : text)
    result += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
  return result + "'";
}

/// What this process has loaded already: a plug-in's need of it is met.
bool is_loaded(const std::string& soname) {
  if (soname.empty()) return false;  // dlopen would take it for the program
  void* handle = dlopen(soname.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (handle == nullptr) return false;
  dlclose(handle);
  return true;
}

/// The library that one line of the dynamic linker's list says it has not found, or "".
std::string not_found(const std::string& line) {
  // "FILE: error while loading shared libraries: NAME: cannot open shared object file: …"
  constexpr std::string_view kBefore = "error while loading shared libraries: ";
  const std::size_t at = line.find(kBefore);
  if (at == std::string::npos) return "";
  const std::size_t end = line.find(": cannot open shared object file", at);
  if (end == std::string::npos) return "";
  return line.substr(at + kBefore.size(), end - at - kBefore.size());
}

/// Where this program's own libraries lie in an installation, and what the user says.
std::string search_path() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error).parent_path();
  const char* more = std::getenv("LD_LIBRARY_PATH");
  return (program.parent_path() / "lib").string() +
         (more == nullptr ? "" : fmt::format(":{}", more));
}

std::string ask_dynamic_linker(const std::string& file) {
  if (access(kDynamicLinker, X_OK) != 0) return "";
  struct Close {
    void operator()(FILE* pipe) const { pclose(pipe); }
  };
  const std::string command = fmt::format("{} --library-path {} --list {} 2>&1", kDynamicLinker,
                                          quoted(search_path()), quoted(file));
  const std::unique_ptr<FILE, Close> pipe(popen(command.c_str(), "r"));
  if (pipe == nullptr) return "";
  std::array<char, 4096> line{};
  std::string missing;
  while (std::fgets(line.data(), static_cast<int>(line.size()), pipe.get()) != nullptr) {
    if (missing.empty()) missing = not_found(line.data());
  }
  return is_loaded(missing) ? "" : missing;
}

}  // namespace

std::string missing_library(const std::string& file) {
  static std::map<std::string, std::string> asked;
  const auto known = asked.find(file);
  if (known != asked.end()) return known->second;
  return asked[file] = ask_dynamic_linker(file);
}

std::vector<Variant> plugin_variants() {
  std::vector<Variant> found;
  for (const fs::path& folder : plugin_folders()) {
    std::error_code error;
    std::vector<fs::path> manifests;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      if (entry.path().extension() == ".json") manifests.push_back(entry.path());
    }
    std::sort(manifests.begin(), manifests.end());
    for (const fs::path& path : manifests) read_manifest(path, found);
    if (!manifests.empty()) break;
  }
  return found;
}

namespace {

// After a call teams of libraries spin for up to 200 ms, on the processors of whoever is measured
// next. Half a millisecond, ten times as long as the harness's own team spins, bridges the calls of
// a sample. A user who has set them knows better.
void shorten_spins() {
  setenv("GOMP_SPINCOUNT", "20000", 0);        // turns of about 50 clocks
  setenv("KMP_BLOCKTIME", "1", 0);             // ms
  setenv("OPENBLAS_THREAD_TIMEOUT", "20", 0);  // 2^20 clocks
}

}  // namespace

void open_plugin(const std::string& path) {
  shorten_spins();
  // Runtimes such as OpenMP's look at what they may run on, and some make their threads, while they
  // are loaded: a pinned caller must not put them on its one core.
  const AffinityScope affinity(this_machine().cores, true);
  // Never closed: its thread pools and registered functions live as long as the program.
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) {
    throw CannotRunError(fmt::format("plug-in {}: {}", path, dlerror()));
  }
}

std::string manifest_of(const std::string& path) {
  std::set<const Variant*> before;
  for (const Variant* variant : variants()) {
    if (absence_of(*variant).empty()) before.insert(variant);
  }
  open_plugin(path);
  json entries = json::array();
  std::string library = fs::path(path).stem().string();
  for (const Variant* variant : variants()) {
    if (before.contains(variant) || !absence_of(*variant).empty()) continue;
    entries.push_back(to_json(*variant));
    if (!variant->library.empty()) library = variant->library;
  }
  return json{
      {"plugin", fs::path(path).filename().string()}, {"library", library}, {"variants", entries}}
      .dump(1);
}

}  // namespace pareto
