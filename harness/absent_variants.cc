#include "harness/absent_variants.h"

#include <fmt/format.h>

#include <filesystem>
#include <sstream>

namespace pareto {
namespace {

// One variant a file, named like it: "kernels/qgemm/cuda_mma.cu" is qgemm/cuda_mma.
std::vector<std::filesystem::path> sources() {
  std::vector<std::filesystem::path> found;
  std::istringstream files(PARETO_OPTIONAL_VARIANTS);
  for (std::string file; files >> file;) found.emplace_back(file);
  return found;
}

std::string reason_for(const std::filesystem::path& source) {
  if (source.extension() == ".cu") return "built without CUDA";
  const std::string name = source.stem();
  const std::string library = name.substr(0, name.find('_'));
  const bool is_peer = library == "torch" || library == "ggml";
  return fmt::format("its plug-in pareto_{}.so is not there{}", library,
                     is_peer ? "; 'make peers' builds it" : "");
}

}  // namespace

std::vector<Variant> optional_variants() {
  std::vector<Variant> found;
  for (const std::filesystem::path& source : sources()) {
    Variant variant;
    variant.op = source.parent_path().filename();
    variant.name = source.stem();
    variant.summary = reason_for(source);
    variant.baseline = !variant.name.starts_with("cuda_");
    found.push_back(std::move(variant));
  }
  return found;
}

std::string absence_of(const Variant& variant) {
  if (variant.prepare != nullptr || !variant.plugin.empty()) return "";
  for (const std::filesystem::path& source : sources()) {
    if (source.parent_path().filename() == variant.op && source.stem() == variant.name) {
      return reason_for(source);
    }
  }
  return "";
}

}  // namespace pareto
