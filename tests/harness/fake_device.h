// A device made of host memory, for tests of what the harness does with one. Its memory can be
// touched only by work on its stream, which runs when somebody waits for it: a harness that reads a
// device pointer, or forgets to wait, crashes or gets poison.
#pragma once

#include <sys/mman.h>

#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "harness/clock.h"
#include "harness/device.h"
#include "harness/errors.h"
#include "harness/hash.h"

namespace pareto {

class FakeDevice : public Device {
 public:
  using Work = std::function<void()>;

  FakeDevice() {
    info_.name = "fake";
    info_.capability = 80;
    info_.l2_bytes = 4096;
    info_.memory_bytes = std::int64_t{1} << 30U;
  }
  ~FakeDevice() override {
    for (const auto& [data, bytes] : blocks_) munmap(data, bytes);
  }

  /// What a kernel launch is to a real device.
  void start(Work work) {
    (recording_ == nullptr ? queue_ : *recording_).push_back(std::move(work));
  }
  /// Work on another stream: neither recorded nor waited for by events.
  void start_elsewhere(Work work) { elsewhere_.push_back(std::move(work)); }

  [[nodiscard]] const DeviceInfo& info() const override { return info_; }
  [[nodiscard]] void* stream() override { return this; }

  [[nodiscard]] void* allocate(std::size_t bytes) override {
    if (bytes > static_cast<std::size_t>(info_.memory_bytes)) {
      throw CannotRunError("out of device memory");
    }
    void* data = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    blocks_[data] = bytes;
    return data;
  }
  void release(void* data) noexcept override {
    synchronize();
    munmap(data, blocks_.at(data));
    blocks_.erase(data);
  }
  void upload(void* to, const void* from, std::size_t bytes) override {
    synchronize();
    unlocked([&] { std::memcpy(to, from, bytes); });
  }
  void download(void* to, const void* from, std::size_t bytes) override {
    synchronize();
    unlocked([&] { std::memcpy(to, from, bytes); });
  }
  void fill(void* to, std::uint64_t pattern, std::size_t bytes) override {
    start([=] {
      for (std::size_t i = 0; i < bytes; ++i) {
        static_cast<unsigned char*>(to)[i] = static_cast<unsigned char>(pattern >> (8 * (i % 8)));
      }
    });
  }
  [[nodiscard]] std::uint64_t hash(const void* data, std::size_t bytes) override {
    synchronize();
    std::uint64_t result = 0;
    unlocked([&] { result = hash_bytes({static_cast<const std::byte*>(data), bytes}); });
    return result;
  }
  void synchronize() override {
    run(queue_);
    run(elsewhere_);
  }
  [[nodiscard]] std::unique_ptr<Recording> record(const std::function<void()>& calls) override {
    auto recording = std::make_unique<Recorded>();
    synchronize();
    recording_ = &recording->work;
    calls();
    recording_ = nullptr;
    synchronize();
    return recording;
  }
  [[nodiscard]] DeviceTime time(Recording& recording) override {
    std::vector<Work> work = static_cast<Recorded&>(recording).work;
    const double start_s = now_s();
    run(work);
    DeviceTime result{.seconds = now_s() - start_s, .busy_after_s = busy_after_s, .sm_clock_hz = 0};
    synchronize();
    result.sm_clock_hz = clocks_hz.empty() ? std::numeric_limits<double>::quiet_NaN()
                                           : clocks_hz[timed % clocks_hz.size()];
    ++timed;
    return result;
  }

  void repeat(Recording& recording, int times) override {
    for (int i = 0; i < times; ++i) {
      std::vector<Work> work = static_cast<Recorded&>(recording).work;
      run(work);
    }
  }

  double busy_after_s = 0;
  std::vector<double> clocks_hz;  ///< of the timed launches, in turn
  std::size_t timed = 0;

 private:
  struct Recorded : Recording {
    std::vector<Work> work;
    [[nodiscard]] bool empty() const override { return work.empty(); }
  };
  template <typename Body>
  void unlocked(const Body& body) {
    for (const auto& [data, bytes] : blocks_) mprotect(data, bytes, PROT_READ | PROT_WRITE);
    body();
    for (const auto& [data, bytes] : blocks_) mprotect(data, bytes, PROT_NONE);
  }
  void run(std::vector<Work>& queue) {
    const std::vector<Work> work = std::move(queue);
    queue.clear();
    if (work.empty()) return;
    unlocked([&] {
      for (const Work& each : work) each();
    });
  }

  DeviceInfo info_;
  std::map<void*, std::size_t> blocks_;
  std::vector<Work> queue_;
  std::vector<Work> elsewhere_;
  std::vector<Work>* recording_ = nullptr;
};

}  // namespace pareto
