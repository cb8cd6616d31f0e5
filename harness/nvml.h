// NVML, the driver's own account of a GPU, loaded at run time: no toolkit of ours has its header.
#pragma once

#include <memory>
#include <string>

namespace pareto {

/// One GPU as NVML sees it. Readings that the driver does not give are NaN or 0.
class Nvml {
 public:
  /// The GPU with this UUID ("GPU-…"); null, and why in `reason`, if that cannot be had.
  static std::unique_ptr<Nvml> open(const std::string& uuid, std::string& reason,
                                    const std::string& library = "libnvidia-ml.so.1");
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  [[nodiscard]] const std::string& uuid() const { return uuid_; }
  /// Version of the display driver.
  [[nodiscard]] std::string driver() const;
  [[nodiscard]] double sm_clock_hz() const;
  [[nodiscard]] double power_limit_w() const;
  /// "on", "off" or the driver's reason.
  [[nodiscard]] std::string ecc() const;
  /// The GPU is split into instances that share its counters.
  [[nodiscard]] bool is_split() const;
  /// Since the driver was loaded; MachineError if it cannot be read.
  [[nodiscard]] double energy_j() const;

 private:
  struct Library;
  Nvml(std::unique_ptr<Library> library, void* gpu, std::string uuid);
  std::unique_ptr<Library> library_;
  void* gpu_;
  std::string uuid_;
};

}  // namespace pareto
