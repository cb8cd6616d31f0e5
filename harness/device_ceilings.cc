#include "harness/device_ceilings.h"

#include <cublasLt.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "harness/clock.h"
#include "harness/cublaslt.h"
#include "harness/cuda_library.h"
#include "harness/device.h"
#include "harness/device_buffer.h"
#include "harness/device_kernels.h"
#include "harness/errors.h"

namespace pareto {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20U;
// Many times any L2, few enough that every device has them.
constexpr std::int64_t kDramBytes = 1024 * kMiB;
// The product that shows a tensor core's rate: big enough to reach it, 1 to 3 ms on Hopper.
constexpr std::int64_t kProductSize = 8192;

// A device that has idled takes some milliseconds to raise its clocks: a single product in TF32
// once ran at half of the rate.
constexpr int kLeastRounds = 20;

/// Something to be timed: work of one call, in operations or bytes.
struct Probe {
  double work = 0;
  std::function<void()> run;
};

cudaStream_t stream() { return static_cast<cudaStream_t>(device().stream()); }

/// Memory for the probes of one name, filled with what their types read as numbers near one.
class Probes {
 public:
  Probe make(const std::string& name) {
    if (name == "cuda_read_dram") return read(kDramBytes, 1);
    if (name == "cuda_read_l2") return read(device().info().l2_bytes / 4 / kMiB * kMiB, 64);
    if (name == "cuda_copy_dram") return copy();
    if (name == "cuda_fma_fp32") return fma();
    return product(name);
  }

 private:
  Probe read(std::int64_t bytes, int times) {
    from_ = DeviceBuffer<std::byte>(bytes);
    sink_ = DeviceBuffer<float>(1);
    device().fill(from_.data(), 0, from_.bytes());
    return {.work = static_cast<double>(bytes) * times, .run = [this, times] {
              start_read(from_.data(), from_.bytes(), times, sink_.data(), stream());
            }};
  }

  Probe copy() {
    from_ = DeviceBuffer<std::byte>(kDramBytes);
    to_ = DeviceBuffer<std::byte>(kDramBytes);
    device().fill(from_.data(), 0, from_.bytes());
    return {.work = 2.0 * static_cast<double>(kDramBytes),
            .run = [this] { start_copy(to_.data(), from_.data(), from_.bytes(), stream()); }};
  }

  Probe fma() {
    constexpr std::int64_t kRounds = 4096;
    constexpr int kBlocksPerMultiprocessor = 8;
    sink_ = DeviceBuffer<float>(1);
    const int blocks = kBlocksPerMultiprocessor * device().info().multiprocessors;
    const double chains = static_cast<double>(blocks) * kFmaThreads;
    return {.work = 2.0 * chains * kFmaPerRound * static_cast<double>(kRounds),
            .run = [this, blocks] { start_fma(kRounds, blocks, sink_.data(), stream()); }};
  }

  // Random signs and mantissas of numbers from 1/2 to 1: zeros would draw less power, and clocks
  // depend on it.
  Probe product(const std::string& name) {
    LtTypes types;
    std::uint64_t random = 0x807fffff807fffffU;
    std::uint64_t fixed = 0x3f0000003f000000U;
    if (name == "cuda_tensor_bf16") {
      types = {.x = CUDA_R_16BF, .w = CUDA_R_16BF, .y = CUDA_R_16BF};
      random = 0x807f807f807f807fU;
      fixed = 0x3f003f003f003f00U;
    } else if (name == "cuda_tensor_fp16") {
      types = {.x = CUDA_R_16F, .w = CUDA_R_16F, .y = CUDA_R_16F};
      random = 0x83ff83ff83ff83ffU;
      fixed = 0x3800380038003800U;
    } else if (name == "cuda_tensor_fp8") {
      types = {
          .x = CUDA_R_8F_E4M3, .w = CUDA_R_8F_E4M3, .y = CUDA_R_16BF, .fast_accumulation = true};
      random = 0x8787878787878787U;
      fixed = 0x3030303030303030U;
    } else if (name == "cuda_tensor_int8") {
      types = {.x = CUDA_R_8I, .w = CUDA_R_8I, .y = CUDA_R_32I, .compute = CUBLAS_COMPUTE_32I};
      random = ~std::uint64_t{0};
      fixed = 0;
    } else {  // cuda_tensor_tf32
      types.compute = CUBLAS_COMPUTE_32F_FAST_TF32;
    }
    constexpr std::int64_t kSize = kProductSize;
    product_ = std::make_unique<LtProduct>(kSize, kSize, kSize, types);
    constexpr std::int64_t kWidest = 4;
    from_ = DeviceBuffer<std::byte>(kSize * kSize * kWidest);
    more_ = DeviceBuffer<std::byte>(kSize * kSize * kWidest);
    to_ = DeviceBuffer<std::byte>(kSize * kSize * kWidest);
    start_noise(from_.data(), random, fixed, from_.bytes(), stream());
    start_noise(more_.data(), random, fixed, more_.bytes(), stream());
    return {.work = 2.0 * kSize * kSize * kSize,
            .run = [this] { product_->run(from_.data(), more_.data(), to_.data()); }};
  }

  DeviceBuffer<std::byte> from_;
  DeviceBuffer<std::byte> more_;
  DeviceBuffer<std::byte> to_;
  DeviceBuffer<float> sink_;
  std::unique_ptr<LtProduct> product_;
};

double best_rate(const Probe& probe, double budget_s) {
  probe.run();
  device().synchronize();
  const std::unique_ptr<Recording> recording = device().record(probe.run);
  double best = 0;
  const double start_s = now_s();
  for (int round = 0; round < kLeastRounds || now_s() - start_s < budget_s; ++round) {
    best = std::max(best, probe.work / device().time(*recording).seconds);
  }
  return best;
}

}  // namespace

std::vector<std::string> device_ceiling_names() {
  if (!device_info().reason.empty()) return {};
  std::vector<std::string> names = {"cuda_read_dram", "cuda_read_l2", "cuda_copy_dram",
                                    "cuda_fma_fp32"};
  if (!cuda_library_missing(kCublasLtSoname).empty()) return names;
  for (const char* type : {"tf32", "bf16", "fp16", "int8", "fp8"}) {
    names.push_back(std::string("cuda_tensor_") + type);
  }
  return names;
}

std::map<std::string, double> measure_device_ceilings(std::span<const std::string> names,
                                                      double budget_s) {
  std::map<std::string, double> rates;
  for (const std::string& name : names) {
    try {
      Probes probes;
      const Probe probe = probes.make(name);
      rates[name] = best_rate(probe, budget_s / static_cast<double>(names.size()));
    } catch (const CannotRunError&) {
      continue;  // fp8 before compute capability 8.9
    }
  }
  return rates;
}

}  // namespace pareto
