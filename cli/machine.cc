// pareto machine: this machine and what it can do at best.

#include "harness/machine.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/verbs.h"
#include "harness/ceilings.h"
#include "harness/device.h"
#include "harness/json_text.h"
#include "harness/provenance.h"
#include "harness/runner.h"

namespace pareto {
namespace {

struct MachineVerb {
  bool measure = false;
  bool quick = false;
  bool as_json = false;
};

std::string in_bytes(std::int64_t bytes) {
  constexpr std::int64_t kKiB = 1024;
  if (bytes < 1024 * kKiB) return fmt::format("{} KiB", bytes / kKiB);
  if (bytes < 1024 * 1024 * kKiB) return fmt::format("{} MiB", bytes / kKiB / kKiB);
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / std::pow(2.0, 30));
}

std::string none_if_empty(const std::string& text) { return text.empty() ? "none" : text; }

void print_machine(const Machine& machine) {
  const auto line = [](std::string_view label, const std::string& text) {
    fmt::print("{:<12} {}\n", label, text);
  };
  line("id", machine.id);
  line("CPU", fmt::format("{}, microcode {}", machine.cpu_model, machine.microcode));
  line("cores",
       fmt::format("{} ({} hardware threads, {} socket(s), {} NUMA node(s))", machine.cores,
                   machine.hardware_threads, machine.sockets, machine.numa_nodes));
  line("frequency",
       fmt::format("{:.2f} GHz measured, {:.2f} GHz reported, governor {}", 1e-9 * core_clock_hz(),
                   1e-9 * machine.frequency_hz, machine.governor));
  for (const Cache& cache : machine.caches) {
    line(fmt::format("L{}", cache.level),
         fmt::format("{} × {}", cache.instances, in_bytes(cache.bytes)));
  }
  line("memory", fmt::format("{} ({} available), huge pages: {}", in_bytes(machine.memory_bytes),
                             in_bytes(available_memory_bytes()), machine.huge_pages));
  line("ISA", none_if_empty(fmt::format("{}", fmt::join(isa_names(machine.isa), " "))));
  line("hypervisor", none_if_empty(machine.hypervisor));
  line("kernel", machine.kernel);
  line("GPU", none_if_empty(fmt::format("{}", fmt::join(machine.gpus, ", "))));
  if (!machine.gpu_driver.empty()) line("driver", machine.gpu_driver);
}

void print_device(const DeviceInfo& device) {
  if (!device.reason.empty()) {
    fmt::print("{:<12} {}\n", "CUDA", device.reason);
    return;
  }
  fmt::print("{:<12} {} ({}), capability {}.{}, {} SMs, L2 {}, {}\n", "CUDA", device.name,
             device.uuid, device.capability / 10, device.capability % 10, device.multiprocessors,
             in_bytes(device.l2_bytes), in_bytes(device.memory_bytes));
  fmt::print("{:<12} at most {:.2f} GHz, {:.0f} W, ECC {}\n", "", 1e-9 * device.sm_clock_hz,
             device.power_limit_w, device.ecc);
}

void print_ceilings(const Ceilings& ceilings) {
  fmt::print("{:<22} {:>7} {:>12} {:<9} {:>12}\n", "ceiling", "threads", "rate", "", "instr/clock");
  for (const auto& [name, by_threads] : ceilings.all()) {
    const bool is_bytes =
        name.find("read_") != std::string::npos || name.find("copy_") != std::string::npos;
    const bool is_integer = name.find("int8") != std::string::npos;
    const std::string_view unit = is_bytes ? "GB/s" : is_integer ? "GOP/s" : "GFLOP/s";
    for (const auto& [threads, ceiling] : by_threads) {
      const bool has_clock = !std::isnan(ceiling.instructions_per_clock);
      fmt::print("{:<22} {:>7} {:>12.1f} {:<9} {:>12}\n", name, threads, 1e-9 * ceiling.rate, unit,
                 has_clock ? fmt::format("{:.2f}", ceiling.instructions_per_clock) : "");
    }
  }
  for (const int threads : ceilings.crowded()) {
    fmt::print("{}\n", crowding_note(threads));
  }
}

void show_machine(const MachineVerb& verb) {
  const bool measure = verb.measure || verb.quick;
  const Ceilings ceilings = measure ? measure_ceilings_isolated(verb.quick) : cached_ceilings();
  if (verb.as_json) {
    const nlohmann::json json = {
        {"machine", this_machine().to_json()}, {"device", device_info().to_json()},
        {"build", build_provenance()},         {"available_memory_bytes", available_memory_bytes()},
        {"core_clock_hz", core_clock_hz()},    {"ceilings", ceilings.to_json()},
        {"ceilings_measured_now", measure}};
    fmt::print("{}\n", json_text(json, 2));
    return;
  }
  print_machine(this_machine());
  print_device(device_info());
  if (ceilings.empty()) {
    fmt::print("\nceilings: not measured yet: pareto machine --measure\n");
    return;
  }
  fmt::print("\nceilings, measured {}:\n",
             measure ? "now" : "earlier on this machine (--measure: again, now)");
  print_ceilings(ceilings);
}

}  // namespace

void add_machine_verb(CLI::App& app, int& exit_code) {
  auto verb = std::make_shared<MachineVerb>();
  CLI::App* command = app.add_subcommand("machine", "this machine and its measured ceilings");
  command->add_flag("--measure", verb->measure, "measure the ceilings now (up to 10 s)");
  command->add_flag("--quick", verb->quick, "measure them within 2 s");
  command->add_flag("--json", verb->as_json, "JSON instead of a table");
  command->footer("Example: pareto machine --measure");
  command->callback([verb, &exit_code] {
    show_machine(*verb);
    exit_code = 0;
  });
}

}  // namespace pareto
