#include "harness/device_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "harness/device.h"
#include "harness/errors.h"
#include "harness/poison.h"

namespace pareto {
namespace {

constexpr std::size_t kCanaryBytes = 256;  // as much as the alignment
constexpr std::byte kCanary{0xff};
constexpr std::uint64_t kCanaryWord = ~std::uint64_t{0};

}  // namespace

DeviceTensor::DeviceTensor(std::string label, DType dtype, const Shape& shape, Layout layout)
    : label_(std::move(label)), canary_bytes_(layout == Layout::kGuardBefore ? 0 : kCanaryBytes) {
  view_.dtype = dtype;
  view_.shape = shape;
  const std::size_t bytes = view_.bytes() + 2 * canary_bytes_;
  block_ = static_cast<std::byte*>(device().allocate(std::max<std::size_t>(bytes, 1)));
  view_.data = block_ + canary_bytes_;
  if (canary_bytes_ == 0) return;
  device().fill(block_, kCanaryWord, canary_bytes_);
  device().fill(view_.data + view_.bytes(), kCanaryWord, canary_bytes_);
}

DeviceTensor::~DeviceTensor() { device().release(block_); }

void DeviceTensor::fill(const Tensor& source) {
  if (source.dtype != view_.dtype || !(source.shape == view_.shape)) {
    throw InputError(fmt::format("{}: contents {} {} do not fit {} {}", label_,
                                 name_of(source.dtype), source.shape.text(), name_of(view_.dtype),
                                 view_.shape.text()));
  }
  if (view_.bytes() > 0) device().upload(view_.data, source.data, view_.bytes());
}

void DeviceTensor::read(const Tensor& into) const {
  if (view_.bytes() > 0) device().download(into.data, view_.data, view_.bytes());
}

void DeviceTensor::poison() {
  if (view_.bytes() > 0) device().fill(view_.data, poison_word(view_.dtype), view_.bytes());
}

std::size_t DeviceTensor::broken_bytes(const std::byte* canary) const {
  std::vector<std::byte> bytes(canary_bytes_);
  device().download(bytes.data(), canary, canary_bytes_);
  return static_cast<std::size_t>(
      std::count_if(bytes.begin(), bytes.end(), [](std::byte b) { return b != kCanary; }));
}

std::string DeviceTensor::damage() const {
  if (canary_bytes_ == 0) return "";
  const std::size_t before = broken_bytes(block_);
  if (before > 0) return fmt::format("{} bytes before {} were overwritten", before, label_);
  const std::size_t behind = broken_bytes(view_.data + view_.bytes());
  if (behind > 0) return fmt::format("{} bytes behind {} were overwritten", behind, label_);
  return "";
}

std::uint64_t DeviceTensor::content_hash() const {
  return view_.bytes() == 0 ? 0 : device().hash(view_.data, view_.bytes());
}

void DeviceTensor::append_sample(std::vector<std::uint64_t>& bits) const {
  bits.push_back(content_hash());
}

}  // namespace pareto
