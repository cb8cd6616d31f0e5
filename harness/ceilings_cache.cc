#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/ceilings.h"
#include "harness/machine.h"

namespace pareto {
namespace {

std::string cache_folder() {
  if (const char* own = std::getenv("PARETO_CACHE_DIR")) return own;
  if (const char* xdg = std::getenv("XDG_CACHE_HOME")) return std::string(xdg) + "/pareto";
  const char* home = std::getenv("HOME");
  return std::string(home == nullptr ? "/tmp" : home) + "/.cache/pareto";
}

}  // namespace

std::string ceilings_cache_path() {
  return cache_folder() + "/ceilings-" + this_machine().id + ".json";
}

void cache_ceilings(const Ceilings& ceilings) {
  const std::filesystem::path path = ceilings_cache_path();
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  const std::string temporary = path.string() + '.' + std::to_string(getpid());
  std::ofstream file(temporary);
  file << ceilings.to_json().dump(1) << '\n';
  file.close();
  if (file.good()) {
    std::filesystem::rename(temporary, path, error);
  }
  if (!file.good() || error) std::filesystem::remove(temporary, error);
}

Ceilings load_ceilings(const std::string& path) {
  std::ifstream file(path);
  if (!file) return {};
  try {
    return Ceilings::from_json(nlohmann::json::parse(file));
  } catch (const std::exception&) {
    return {};  // half a file of a killed process: as good as none
  }
}

const Ceilings& cached_ceilings() {
  static const Ceilings ceilings = load_ceilings(ceilings_cache_path());
  return ceilings;
}

}  // namespace pareto
