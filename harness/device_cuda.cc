// The device through the CUDA runtime. Plain C++: nvcc cannot read fmt 9, and only the kernels in
// device_kernels.cu need it.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <cstdlib>
#include <limits>
#include <utility>

#include "harness/clock.h"
#include "harness/device.h"
#include "harness/device_kernels.h"
#include "harness/errors.h"
#include "harness/nvml.h"

namespace pareto {
namespace {

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) device_failed(what, cudaGetErrorString(status));
}

/// Owns what one function of the runtime destroys; destruction never throws.
template <typename Handle, cudaError_t (*destroy)(Handle)>
class Owned {
 public:
  Owned() = default;
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() {
    if (handle_ != nullptr) static_cast<void>(destroy(handle_));
  }
  [[nodiscard]] Handle get() const { return handle_; }
  [[nodiscard]] Handle* out() { return &handle_; }

 private:
  Handle handle_ = nullptr;
};

using Stream = Owned<cudaStream_t, cudaStreamDestroy>;
using Event = Owned<cudaEvent_t, cudaEventDestroy>;
using Graph = Owned<cudaGraph_t, cudaGraphDestroy>;
using ExecutableGraph = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;

struct GraphRecording : Recording {
  ExecutableGraph graph;
  std::size_t nodes = 0;
  [[nodiscard]] bool empty() const override { return nodes == 0; }
};

std::string uuid_text(const cudaUUID_t& uuid) {
  std::string text = "GPU-";
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", static_cast<unsigned char>(uuid.bytes[i]));
  }
  return text;
}

double attribute(cudaDeviceAttr which) {
  int value = 0;
  return cudaDeviceGetAttribute(&value, which, 0) == cudaSuccess ? value : 0;
}

// The first device that CUDA_VISIBLE_DEVICES leaves.
std::string why_no_device() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver) {
    int driver = 0;
    int runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0) return "no NVIDIA driver: its libcuda.so.1 is not here or cannot be used";
    return fmt::format("the driver knows CUDA {}.{}, this build needs {}.{}", driver / 1000,
                       driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
    return "no CUDA device";
  }
  return status == cudaSuccess ? "" : fmt::format("CUDA: {}", cudaGetErrorString(status));
}

class CudaDevice : public Device {
 public:
  explicit CudaDevice(DeviceInfo info) : info_(std::move(info)) {
    check(cudaSetDevice(0), "cudaSetDevice");
    check(cudaStreamCreateWithFlags(stream_.out(), cudaStreamNonBlocking), "cudaStreamCreate");
    check(cudaEventCreate(begin_.out()), "cudaEventCreate");
    check(cudaEventCreate(end_.out()), "cudaEventCreate");
    void* sum = nullptr;
    check(cudaMalloc(&sum, sizeof(*sum_)), "cudaMalloc");
    sum_ = static_cast<unsigned long long*>(sum);
    std::string reason;
    nvml_ = Nvml::open(info_.uuid, reason);
  }

  [[nodiscard]] const DeviceInfo& info() const override { return info_; }
  [[nodiscard]] void* stream() override { return stream_.get(); }

  [[nodiscard]] void* allocate(std::size_t bytes) override {
    void* data = nullptr;
    const cudaError_t status = cudaMalloc(&data, bytes);
    if (status == cudaErrorMemoryAllocation) {
      static_cast<void>(cudaGetLastError());  // it does not stick
      std::size_t free = 0;
      std::size_t total = 0;
      check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
      throw CannotRunError(fmt::format("out of device memory: {} bytes wanted, {} of {} are free",
                                       bytes, free, total));
    }
    check(status, "cudaMalloc");
    return data;
  }
  void release(void* data) noexcept override { static_cast<void>(cudaFree(data)); }

  void upload(void* to, const void* from, std::size_t bytes) override {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_.get()), "upload");
    finish_stream("upload");
  }
  void download(void* to, const void* from, std::size_t bytes) override {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_.get()), "download");
    finish_stream("download");
  }
  void fill(void* to, std::uint64_t pattern, std::size_t bytes) override {
    start_fill(to, pattern, bytes, stream_.get());
    check(cudaGetLastError(), "fill");
  }
  [[nodiscard]] std::uint64_t hash(const void* data, std::size_t bytes) override {
    check(cudaMemsetAsync(sum_, 0, sizeof(*sum_), stream_.get()), "hash");
    start_hash(data, bytes, sum_, stream_.get());
    check(cudaGetLastError(), "hash");
    unsigned long long sum = 0;
    download(&sum, sum_, sizeof(sum));
    return sum;
  }

  void synchronize() override { check(cudaDeviceSynchronize(), "kernel"); }

  [[nodiscard]] std::unique_ptr<Recording> record(const std::function<void()>& calls) override {
    synchronize();
    if (records_nothing_) return std::make_unique<GraphRecording>();
    // Global: this thread and every other may neither allocate nor wait meanwhile.
    check(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeGlobal), "begin of capture");
    calls();
    Graph graph;
    check(cudaStreamEndCapture(stream_.get(), graph.out()),
          "recording a call (does it wait, allocate, or use the default stream?)");
    auto recording = std::make_unique<GraphRecording>();
    check(cudaGraphGetNodes(graph.get(), nullptr, &recording->nodes), "cudaGraphGetNodes");
    check(cudaGraphInstantiate(recording->graph.out(), graph.get(), 0), "cudaGraphInstantiate");
    check(cudaGraphUpload(recording->graph.get(), stream_.get()), "cudaGraphUpload");
    synchronize();
    return recording;
  }

  [[nodiscard]] DeviceTime time(Recording& recording) override {
    const cudaGraphExec_t graph = static_cast<GraphRecording&>(recording).graph.get();
    if (graph == nullptr) return {};
    // A device that knows no persisting lines refuses, and has none.
    if (cudaCtxResetPersistingL2Cache() != cudaSuccess) static_cast<void>(cudaGetLastError());
    synchronize();
    check(cudaEventRecord(begin_.get(), stream_.get()), "cudaEventRecord");
    check(cudaGraphLaunch(graph, stream_.get()), "cudaGraphLaunch");
    check(cudaEventRecord(end_.get(), stream_.get()), "cudaEventRecord");
    DeviceTime result;
    result.sm_clock_hz = nvml_ == nullptr ? std::numeric_limits<double>::quiet_NaN()
                                          : nvml_->sm_clock_hz();  // while the graph runs
    check(cudaEventSynchronize(end_.get()), "kernel");
    const double finished_s = now_s();
    synchronize();
    result.busy_after_s = now_s() - finished_s;
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get()), "cudaEventElapsedTime");
    result.seconds = 1e-3 * static_cast<double>(milliseconds);
    return result;
  }

  void repeat(Recording& recording, int times) override {
    const cudaGraphExec_t graph = static_cast<GraphRecording&>(recording).graph.get();
    for (int i = 0; i < times && graph != nullptr; ++i) {
      check(cudaGraphLaunch(graph, stream_.get()), "cudaGraphLaunch");
    }
    finish_stream("kernel");
  }

  void record_nothing() override { records_nothing_ = true; }

 private:
  void finish_stream(const char* what) { check(cudaStreamSynchronize(stream_.get()), what); }

  DeviceInfo info_;
  Stream stream_;
  Event begin_;
  Event end_;
  bool records_nothing_ = false;
  unsigned long long* sum_ = nullptr;  ///< of `hash`, on the device
  std::unique_ptr<Nvml> nvml_;         ///< null: no readings
};

void ask_nvml(DeviceInfo& info) {
  std::string reason;
  const std::unique_ptr<Nvml> nvml = Nvml::open(info.uuid, reason);
  info.ecc = nvml == nullptr ? reason : nvml->ecc();
  info.driver = nvml == nullptr ? "" : nvml->driver();
  info.power_limit_w =
      nvml == nullptr ? std::numeric_limits<double>::quiet_NaN() : nvml->power_limit_w();
}

}  // namespace

DeviceInfo probe_device() {
  // Kernels are loaded at the start: loading one in the middle of a recording can fail.
  setenv("CUDA_MODULE_LOADING", "EAGER", 0);
  DeviceInfo info;
  info.reason = why_no_device();
  if (!info.reason.empty()) return info;
  cudaDeviceProp properties{};
  const cudaError_t status = cudaGetDeviceProperties(&properties, 0);
  if (status != cudaSuccess) {
    info.reason = fmt::format("CUDA: {}", cudaGetErrorString(status));
    return info;
  }
  info.name = properties.name;
  info.uuid = uuid_text(properties.uuid);
  info.capability = 10 * properties.major + properties.minor;
  cudaDriverGetVersion(&info.driver_cuda);
  cudaRuntimeGetVersion(&info.runtime_cuda);
  info.multiprocessors = properties.multiProcessorCount;
  info.memory_bytes = static_cast<std::int64_t>(properties.totalGlobalMem);
  info.l2_bytes = properties.l2CacheSize;
  info.sm_clock_hz = 1e3 * attribute(cudaDevAttrClockRate);
  info.memory_clock_hz = 1e3 * attribute(cudaDevAttrMemoryClockRate);
  ask_nvml(info);
  return info;
}

std::unique_ptr<Device> start_device() {
  DeviceInfo info = probe_device();
  if (!info.reason.empty()) throw CannotRunError(info.reason);
  return std::make_unique<CudaDevice>(std::move(info));
}

}  // namespace pareto
