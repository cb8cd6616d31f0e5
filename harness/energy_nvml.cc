// NVML without its header, which no toolkit of ours has: prototypes of nvml.h 13.0, loaded at run
// time from the driver.
#include <dlfcn.h>
#include <fmt/format.h>

#include "harness/energy.h"
#include "harness/errors.h"

namespace pareto {
namespace {

using Device = struct NvmlDevice*;  // opaque

struct CloseLibrary {
  void operator()(void* library) const { dlclose(library); }
};

struct Nvml {
  std::unique_ptr<void, CloseLibrary> library;
  int (*init)() = nullptr;
  const char* (*error_string)(int) = nullptr;
  int (*handle_by_uuid)(const char*, Device*) = nullptr;
  int (*total_energy)(Device, unsigned long long*) = nullptr;
  int (*mig_mode)(Device, unsigned*, unsigned*) = nullptr;  ///< null: the driver knows no MIG

  template <typename Function>
  bool find(Function*& function, const char* name) {
    function = reinterpret_cast<Function*>(dlsym(library.get(), name));
    return function != nullptr;
  }
};

class NvmlCounter : public EnergyCounter {
 public:
  NvmlCounter(Nvml nvml, Device device, std::string uuid, unsigned long long start_mj)
      : nvml_(std::move(nvml)), device_(device), uuid_(std::move(uuid)), start_mj_(start_mj) {}

  double joules() override {
    unsigned long long now_mj = 0;
    const int status = nvml_.total_energy(device_, &now_mj);
    if (status != 0) throw MachineError(fmt::format("nvml: {}", nvml_.error_string(status)));
    return 1e-3 * static_cast<double>(now_mj - start_mj_);
  }
  [[nodiscard]] std::string source() const override { return "nvml " + uuid_; }
  // The power sensor of data-centre GPUs samples a quarter of the time.
  [[nodiscard]] double shortest_run_s() const override { return 5; }

 private:
  Nvml nvml_;
  Device device_;
  std::string uuid_;
  unsigned long long start_mj_;
};

}  // namespace

OpenedCounter open_nvml(const std::string& uuid, const std::string& library) {
  Nvml nvml;
  nvml.library.reset(dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL));
  if (nvml.library == nullptr) return {nullptr, fmt::format("no NVML: {}", dlerror())};
  if (!nvml.find(nvml.init, "nvmlInit_v2") || !nvml.find(nvml.error_string, "nvmlErrorString") ||
      !nvml.find(nvml.handle_by_uuid, "nvmlDeviceGetHandleByUUID") ||
      !nvml.find(nvml.total_energy, "nvmlDeviceGetTotalEnergyConsumption")) {
    return {nullptr, fmt::format("{} lacks a function that is needed", library)};
  }
  nvml.find(nvml.mig_mode, "nvmlDeviceGetMigMode");
  const auto failed = [&nvml](const char* what, int status) {
    return OpenedCounter{nullptr, fmt::format("nvml: {}: {}", what, nvml.error_string(status))};
  };
  if (const int status = nvml.init(); status != 0) return failed("init", status);
  Device device = nullptr;
  if (const int status = nvml.handle_by_uuid(uuid.c_str(), &device); status != 0) {
    return failed(uuid.c_str(), status);
  }
  unsigned current = 0;
  unsigned pending = 0;
  if (nvml.mig_mode != nullptr && nvml.mig_mode(device, &current, &pending) == 0 && current != 0) {
    return {nullptr, fmt::format("nvml: {} is split (MIG): its counter covers all parts", uuid)};
  }
  unsigned long long start_mj = 0;
  if (const int status = nvml.total_energy(device, &start_mj); status != 0) {
    return failed("TotalEnergyConsumption", status);
  }
  return {std::make_unique<NvmlCounter>(std::move(nvml), device, uuid, start_mj), ""};
}

}  // namespace pareto
