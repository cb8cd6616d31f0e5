// Energy of a GPU, from the counter that NVML keeps.
#include <fmt/format.h>

#include "harness/energy.h"
#include "harness/errors.h"
#include "harness/nvml.h"

namespace pareto {
namespace {

class NvmlCounter : public EnergyCounter {
 public:
  explicit NvmlCounter(std::unique_ptr<Nvml> nvml)
      : nvml_(std::move(nvml)), start_j_(nvml_->energy_j()) {}

  double joules() override { return nvml_->energy_j() - start_j_; }
  [[nodiscard]] std::string source() const override { return "nvml " + nvml_->uuid(); }
  // The power sensor of data-centre GPUs samples a quarter of the time.
  [[nodiscard]] double shortest_run_s() const override { return 5; }
  // The sensor averages over a second: right after a GEMM an H100 seemed to idle at 264 W, not 117.
  [[nodiscard]] double settle_s() const override { return 3; }

 private:
  std::unique_ptr<Nvml> nvml_;
  double start_j_;
};

}  // namespace

OpenedCounter open_nvml(const std::string& uuid, const std::string& library) {
  std::string reason;
  std::unique_ptr<Nvml> nvml = Nvml::open(uuid, reason, library);
  if (nvml == nullptr) return {nullptr, reason};
  if (nvml->is_split()) {
    return {nullptr, fmt::format("nvml: {} is split (MIG): its counter covers all parts", uuid)};
  }
  try {
    return {std::make_unique<NvmlCounter>(std::move(nvml)), ""};
  } catch (const MachineError& error) {
    return {nullptr, error.what()};
  }
}

}  // namespace pareto
