// The GPU as the harness sees it: memory, one stream, a timer. Behind one interface, so that a
// build without CUDA has none of it and the tests can put host memory in its place.
//
// A process that has started a device may no longer fork. Hence the process that plans and reports
// never starts one: it learns about the device from a child, and everything that runs on it runs in
// children, too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace pareto {

/// What is known of the device; `reason` says why there is none.
struct DeviceInfo {
  std::string reason;  ///< "no CUDA device"; empty if there is one
  std::string name;
  std::string uuid;         ///< "GPU-8-4-4-4-12"
  std::string driver;       ///< of the display driver, "580.65.06"; empty: NVML did not say
  std::string ecc;          ///< "on", "off" or why it is not known
  int capability = 0;       ///< × 10
  int driver_cuda = 0;      ///< newest CUDA that the driver knows, 13000
  int runtime_cuda = 0;     ///< that this program was built with
  int multiprocessors = 0;  ///< SMs
  std::int64_t memory_bytes = 0;
  std::int64_t l2_bytes = 0;
  double sm_clock_hz = 0;      ///< highest
  double memory_clock_hz = 0;  ///< highest
  double power_limit_w = 0;    ///< NaN: NVML did not say

  [[nodiscard]] nlohmann::json to_json() const;
  static DeviceInfo from_json(const nlohmann::json& json);
};

/// Calls that were recorded once and can be started at once.
class Recording {
 public:
  virtual ~Recording() = default;
  /// True if the calls have started nothing on the stream.
  [[nodiscard]] virtual bool empty() const = 0;
};

/// What one timed launch of a recording showed.
struct DeviceTime {
  double seconds = 0;       ///< between two events round the recording
  double busy_after_s = 0;  ///< that the whole device stayed busy after the second event
  double sm_clock_hz = 0;   ///< while it ran; NaN: not known
};

/// All calls but `fill` are finished when they return, and so is everything
/// that was started on the stream before. What fails for lack of memory throws CannotRunError; any
/// other failure ends the process as a crash does (see device_failed).
class Device {
 public:
  virtual ~Device() = default;
  [[nodiscard]] virtual const DeviceInfo& info() const = 0;
  /// cudaStream_t that all work goes to; not the default stream.
  [[nodiscard]] virtual void* stream() = 0;

  /// At least 256-byte aligned. `bytes` > 0.
  [[nodiscard]] virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* data) noexcept = 0;
  virtual void upload(void* to, const void* from, std::size_t bytes) = 0;
  virtual void download(void* to, const void* from, std::size_t bytes) = 0;
  /// Repeats the 8 bytes of `pattern`; the last repetition may be cut short.
  virtual void fill(void* to, std::uint64_t pattern, std::size_t bytes) = 0;
  /// Equal for equal bytes; computed on the device.
  [[nodiscard]] virtual std::uint64_t hash(const void* data, std::size_t bytes) = 0;

  /// Waits for the whole device: work on every stream.
  virtual void synchronize() = 0;
  /// Records what `calls` starts on the stream, without running it.
  [[nodiscard]] virtual std::unique_ptr<Recording> record(const std::function<void()>& calls) = 0;
  /// Runs a recording on the idle device, persisting lines of L2 reset before.
  [[nodiscard]] virtual DeviceTime time(Recording& recording) = 0;
  /// Runs a recording so many times, one directly after the other.
  virtual void repeat(Recording& recording, int times) = 0;
  /// From now on recordings stay empty and take no time: a tool that watches every access needs too
  /// long for what is run only to be timed.
  virtual void record_nothing() {}
};

/// Of this machine, asked once, in a child process.
const DeviceInfo& device_info();

/// "" if a device of at least this compute capability (× 10) is here and this build has code for
/// it; else the reason in words. 90 means Hopper alone: its kernels use instructions that later
/// devices lack.
std::string device_missing(int capability);

/// The device of this process, started at the first call. CannotRunError if there is none.
Device& device();
/// Puts another one in its place and knows no other from then on: for tests.
void use_device(std::unique_ptr<Device> other);

/// A device call has failed, and the device may be lost to this process (an illegal access never
/// heals). In a child of run_isolated: reports it as that child's crash and ends the process. Else
/// throws MachineError.
[[noreturn]] void device_failed(const std::string& what, const std::string& why);

// What device_cuda.cc, or device_none.cc in a build without CUDA, provides.

/// Starts the device of this process. CannotRunError if there is none.
std::unique_ptr<Device> start_device();
/// Asks the runtime and NVML, in this process.
DeviceInfo probe_device();

}  // namespace pareto
