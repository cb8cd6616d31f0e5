#include "harness/cuda_library.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <sstream>
#include <vector>

#include "harness/errors.h"
#include "harness/provenance.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;

// Folders of a PATH-like variable, each with `below` appended.
void append_from(const char* variable, const char* below, std::vector<fs::path>& folders) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return;
  std::istringstream parts{std::string(text)};
  for (std::string folder; std::getline(parts, folder, ':');) {
    if (!folder.empty()) folders.push_back(fs::path(folder) / below);
  }
}

std::vector<fs::path> system_folders() {
  std::vector<fs::path> folders;
  append_from("PARETO_CUDA_LIBRARIES", "", folders);
  append_from("CUDA_HOME", "lib64", folders);
  append_from("CUDA_PATH", "lib64", folders);
  folders.emplace_back("/usr/local/cuda/lib64");
  append_from("LD_LIBRARY_PATH", "", folders);
  for (const char* folder : {"/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/local/lib"}) {
    folders.emplace_back(folder);
  }
  return folders;
}

// Wheels of CUDA 13 share one folder, those of CUDA 12 have one each; PyTorch keeps its own.
constexpr const char* kAskPython =
    "python3 -c 'import importlib.util as u; "
    "print(*[p for n in (\"nvidia\", \"torch\") if u.find_spec(n) "
    "for p in u.find_spec(n).submodule_search_locations])' 2>/dev/null";

std::vector<fs::path> python_folders() {
  struct Close {
    void operator()(FILE* pipe) const { pclose(pipe); }
  };
  const std::unique_ptr<FILE, Close> pipe(popen(kAskPython, "r"));
  if (pipe == nullptr) return {};
  std::array<char, 4096> line{};
  if (std::fgets(line.data(), static_cast<int>(line.size()), pipe.get()) == nullptr) return {};
  std::vector<fs::path> folders;
  std::istringstream roots{std::string(line.data())};
  for (std::string root; roots >> root;) {
    for (const char* part : {"cu13", "cudnn", "cublas", "cusparse", "nvjitlink"}) {
      folders.push_back(fs::path(root) / part / "lib");
    }
    folders.push_back(fs::path(root) / "lib");
  }
  return folders;
}

struct Needs {
  std::string built_without;
  std::vector<std::string> sonames;
};

// By variant. In a function: registrations run before this file's own static objects.
std::map<std::string, Needs>& needs() {
  static std::map<std::string, Needs> instance;
  return instance;
}

std::string first_with(const std::vector<fs::path>& folders, const std::string& soname) {
  std::error_code error;
  for (const fs::path& folder : folders) {
    if (fs::exists(folder / soname, error)) return (folder / soname).string();
  }
  return "";
}

}  // namespace

std::string find_cuda_library(const std::string& soname) {
  static std::map<std::string, std::string> found;
  const auto known = found.find(soname);
  if (known != found.end()) return known->second;
  std::string path = first_with(system_folders(), soname);
  if (path.empty()) {
    static const std::vector<fs::path> kPython = python_folders();
    path = first_with(kPython, soname);
  }
  return found[soname] = path;
}

std::string cuda_library_missing(const std::string& soname) {
  return find_cuda_library(soname).empty() ? soname + " not found" : "";
}

NeedsCudaLibrary::NeedsCudaLibrary(const std::string& variant, const std::string& soname) {
  needs()[variant].sonames.push_back(soname);
}

BuiltWithout::BuiltWithout(const std::string& variant, const std::string& what) {
  needs()[variant].built_without = what;
}

std::string missing_cuda_library_of(const std::string& variant) {
  const auto need = needs().find(variant);
  if (need == needs().end()) return "";
  if (!need->second.built_without.empty()) return "built without " + need->second.built_without;
  for (const std::string& soname : need->second.sonames) {
    std::string missing = cuda_library_missing(soname);
    if (!missing.empty()) return missing;
  }
  return "";
}

void* open_cuda_library(const std::string& soname) {
  const std::string path = find_cuda_library(soname);
  void* library = dlopen(path.empty() ? soname.c_str() : path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw CannotRunError(dlerror());
  link_map* map = nullptr;
  const bool known = dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr;
  add_library_version(soname, known ? map->l_name : path);
  return library;
}

void* cuda_symbol(void* library, const char* name) {
  void* symbol = dlsym(library, name);
  if (symbol == nullptr) throw CannotRunError(fmt::format("{} is not in its library", name));
  return symbol;
}

}  // namespace pareto
