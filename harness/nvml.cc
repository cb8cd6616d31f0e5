#include "harness/nvml.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <limits>
#include <utility>

#include "harness/errors.h"

namespace pareto {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr int kSmClock = 1;  // NVML_CLOCK_SM

using Gpu = void*;  // nvmlDevice_t, opaque

}  // namespace

// Prototypes of nvml.h 13.0. Null pointers: this driver is too old for it.
struct Nvml::Library {
  void* handle = nullptr;
  int (*init)() = nullptr;
  const char* (*error_string)(int) = nullptr;
  int (*handle_by_uuid)(const char*, Gpu*) = nullptr;
  int (*driver_version)(char*, unsigned) = nullptr;
  int (*total_energy)(Gpu, unsigned long long*) = nullptr;
  int (*clock)(Gpu, int, unsigned*) = nullptr;
  int (*power_limit)(Gpu, unsigned*) = nullptr;
  int (*ecc_mode)(Gpu, int*, int*) = nullptr;
  int (*mig_mode)(Gpu, unsigned*, unsigned*) = nullptr;

  ~Library() {
    if (handle != nullptr) dlclose(handle);
  }

  template <typename Function>
  bool find(Function*& function, const char* name) {
    function = reinterpret_cast<Function*>(dlsym(handle, name));
    return function != nullptr;
  }

  // False without the functions that everything needs.
  bool load() {
    find(driver_version, "nvmlSystemGetDriverVersion");
    find(total_energy, "nvmlDeviceGetTotalEnergyConsumption");
    find(clock, "nvmlDeviceGetClockInfo");
    find(power_limit, "nvmlDeviceGetEnforcedPowerLimit");
    find(ecc_mode, "nvmlDeviceGetEccMode");
    find(mig_mode, "nvmlDeviceGetMigMode");
    return find(init, "nvmlInit_v2") && find(error_string, "nvmlErrorString") &&
           find(handle_by_uuid, "nvmlDeviceGetHandleByUUID");
  }
};

Nvml::Nvml(std::unique_ptr<Library> library, void* gpu, std::string uuid)
    : library_(std::move(library)), gpu_(gpu), uuid_(std::move(uuid)) {}

Nvml::~Nvml() = default;

std::unique_ptr<Nvml> Nvml::open(const std::string& uuid, std::string& reason,
                                 const std::string& library) {
  auto loaded = std::make_unique<Library>();
  loaded->handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (loaded->handle == nullptr) {
    reason = fmt::format("no NVML: {}", dlerror());
    return nullptr;
  }
  if (!loaded->load()) {
    reason = fmt::format("{} lacks a function that is needed", library);
    return nullptr;
  }
  if (const int status = loaded->init(); status != 0) {
    reason = fmt::format("nvml: init: {}", loaded->error_string(status));
    return nullptr;
  }
  Gpu gpu = nullptr;
  if (const int status = loaded->handle_by_uuid(uuid.c_str(), &gpu); status != 0) {
    reason = fmt::format("nvml: {}: {}", uuid, loaded->error_string(status));
    return nullptr;
  }
  return std::unique_ptr<Nvml>(new Nvml(std::move(loaded), gpu, uuid));
}

std::string Nvml::driver() const {
  std::array<char, 80> text{};
  const bool known = library_->driver_version != nullptr &&
                     library_->driver_version(text.data(), text.size()) == 0;
  return known ? text.data() : "";
}

double Nvml::sm_clock_hz() const {
  unsigned mhz = 0;
  const bool known = library_->clock != nullptr && library_->clock(gpu_, kSmClock, &mhz) == 0;
  return known ? 1e6 * mhz : kNaN;
}

double Nvml::power_limit_w() const {
  unsigned milliwatts = 0;
  const bool known =
      library_->power_limit != nullptr && library_->power_limit(gpu_, &milliwatts) == 0;
  return known ? 1e-3 * milliwatts : kNaN;
}

std::string Nvml::ecc() const {
  if (library_->ecc_mode == nullptr) return "not known";
  int current = 0;
  int pending = 0;
  const int status = library_->ecc_mode(gpu_, &current, &pending);
  if (status != 0) return library_->error_string(status);
  return current != 0 ? "on" : "off";
}

bool Nvml::is_split() const {
  unsigned current = 0;
  unsigned pending = 0;
  return library_->mig_mode != nullptr && library_->mig_mode(gpu_, &current, &pending) == 0 &&
         current != 0;
}

double Nvml::energy_j() const {
  if (library_->total_energy == nullptr) {
    throw MachineError("nvml: this driver has no TotalEnergyConsumption");
  }
  unsigned long long millijoules = 0;
  const int status = library_->total_energy(gpu_, &millijoules);
  if (status != 0) {
    throw MachineError(
        fmt::format("nvml: TotalEnergyConsumption: {}", library_->error_string(status)));
  }
  return 1e-3 * static_cast<double>(millijoules);
}

}  // namespace pareto
