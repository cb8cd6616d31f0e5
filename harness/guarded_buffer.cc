#include "harness/guarded_buffer.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "harness/errors.h"
#include "harness/hash.h"

namespace pareto {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20U;
constexpr std::size_t kLine = 64;
constexpr std::byte kCanary{0xC5};

std::size_t page_bytes() {
  static const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

std::size_t rounded_up(std::size_t value, std::size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// What the fault handler may know of a buffer: plain data at a fixed place, never freed.
struct Region {
  std::atomic<bool> used{false};
  std::atomic<bool> ready{false};
  std::atomic<Access> access{Access::kReadWrite};
  const std::byte* map_begin = nullptr;
  const std::byte* map_end = nullptr;
  const std::byte* data_begin = nullptr;
  const std::byte* data_end = nullptr;
  std::array<char, 64> label{};
};

constexpr int kRegions =
    4096;  // 8 contents × 16 tensors × 32 variants; beyond it faults are nameless
std::array<Region, kRegions>& regions() {
  static std::array<Region, kRegions> table;
  return table;
}

int claim_region() {
  auto& table = regions();
  for (int i = 0; i < kRegions; ++i) {
    bool expected = false;
    if (table[i].used.compare_exchange_strong(expected, true)) return i;
  }
  return -1;
}

void release_region(int index) {
  if (index < 0) return;
  regions()[index].ready = false;
  regions()[index].used = false;
}

/// Appends to a caller's array without allocating: usable inside a signal handler.
class SignalSafeText {
 public:
  SignalSafeText(char* text, std::size_t size) : text_(text), left_(size) {
    if (size > 0) *text = '\0';
  }
  SignalSafeText& operator<<(const char* part) {
    while (*part != '\0' && left_ > 1) {
      *text_++ = *part++;
      --left_;
    }
    if (left_ > 0) *text_ = '\0';
    return *this;
  }
  SignalSafeText& operator<<(std::size_t number) {
    std::array<char, 24> digits{};
    char* begin = digits.data() + digits.size() - 1;
    do {
      *--begin = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number > 0);
    return *this << begin;
  }

 private:
  char* text_;
  std::size_t left_;
};

void describe_inside(const Region& region, std::size_t byte, bool write, SignalSafeText& text) {
  if (region.access == Access::kNone) {
    text << "operands: " << (write ? "wrote" : "read") << " byte " << byte << " of "
         << region.label.data() << ", which run must not see (keeps_operands is not declared)";
  } else {
    text << "operands: " << region.label.data() << " was changed in place (byte " << byte << ")";
  }
}

[[noreturn]] void out_of_memory(const std::string& label, std::size_t bytes) {
  throw MachineError(
      fmt::format("cannot map {} bytes for {}: {}", bytes, label, std::strerror(errno)));
}

template <typename T>
void fill_with(const Tensor& output, T pattern) {
  for (std::int64_t i = 0; i < output.elements(); ++i) {
    std::memcpy(output.data + i * static_cast<std::int64_t>(sizeof(T)), &pattern, sizeof(T));
  }
}

/// Quiet NaNs whose payload no operation makes up; a sentinel for integers.
std::uint64_t poison_pattern(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return 0x7FFDA5A5A5A5A5A5U;
    case DType::kF32:
      return 0x7FEDA5A5U;
    case DType::kBf16:
      return 0x7FEDU;
    case DType::kF16:
      return 0x7EEDU;
    case DType::kE4m3:
    case DType::kE5m2:
      return 0x7FU;
    case DType::kS8:
    case DType::kU8:
      return 0xA5U;
    case DType::kS32:
      return 0xA5A5A5A5U;
    case DType::kS64:
      return 0xA5A5A5A5A5A5A5A5U;
  }
  return 0;
}

}  // namespace

GuardedBuffer::GuardedBuffer(std::string label, DType dtype, const Shape& shape, Layout layout)
    : label_(std::move(label)) {
  view_.dtype = dtype;
  view_.shape = shape;
  if (!view_.present()) return;
  const std::size_t page = page_bytes();
  const std::size_t bytes = view_.bytes();
  // Same offset every time, but different among the operands of a call: starts that agree in their
  // low 12 bits would compete for the same cache sets.
  const std::size_t stagger = layout == Layout::kTimed ? kLine * (hash_text(label_) % 32) : 0;
  const std::size_t canary = layout == Layout::kTimed ? page : 0;
  open_bytes_ = rounded_up(bytes + stagger, page) + 2 * canary;
  const bool huge = layout == Layout::kTimed && bytes >= kHugePage;
  map_bytes_ = open_bytes_ + 2 * page + (huge ? kHugePage : 0);
  void* map = mmap(nullptr, map_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) out_of_memory(label_, map_bytes_);
  map_ = static_cast<std::byte*>(map);
  open_ = map_ + page;
  if (huge) {
    const auto start = reinterpret_cast<std::uintptr_t>(open_ + canary);
    open_ += rounded_up(start, kHugePage) - start;
  }
  if (open_bytes_ > 0 && mprotect(open_, open_bytes_, PROT_READ | PROT_WRITE) != 0) {
    munmap(map_, map_bytes_);
    out_of_memory(label_, open_bytes_);
  }
  if (huge) madvise(open_, open_bytes_, MADV_HUGEPAGE);  // refused by some kernels: only slower
  view_.data =
      layout == Layout::kGuardAfter ? open_ + open_bytes_ - bytes : open_ + canary + stagger;
  paint_canaries();

  region_ = claim_region();
  if (region_ < 0) return;
  Region& region = regions()[region_];
  region.map_begin = map_;
  region.map_end = map_ + map_bytes_;
  region.data_begin = view_.data;
  region.data_end = view_.data + bytes;
  region.access = Access::kReadWrite;
  const std::size_t length = std::min(label_.size(), region.label.size() - 1);
  std::memcpy(region.label.data(), label_.data(), length);
  region.label[length] = '\0';
  region.ready = true;
}

void GuardedBuffer::paint_canaries() {
  const std::byte* end = open_ + open_bytes_;
  std::byte* behind = view_.data + view_.bytes();
  std::memset(open_, static_cast<int>(kCanary), static_cast<std::size_t>(view_.data - open_));
  std::memset(behind, static_cast<int>(kCanary), static_cast<std::size_t>(end - behind));
}

GuardedBuffer::GuardedBuffer(GuardedBuffer&& other) noexcept { *this = std::move(other); }

GuardedBuffer& GuardedBuffer::operator=(GuardedBuffer&& other) noexcept {
  std::swap(label_, other.label_);
  std::swap(view_, other.view_);
  std::swap(map_, other.map_);
  std::swap(map_bytes_, other.map_bytes_);
  std::swap(open_, other.open_);
  std::swap(open_bytes_, other.open_bytes_);
  std::swap(region_, other.region_);
  return *this;
}

GuardedBuffer::~GuardedBuffer() {
  release_region(region_);
  if (map_ != nullptr) munmap(map_, map_bytes_);
}

void GuardedBuffer::fill(const Tensor& source) {
  if (source.dtype != view_.dtype || !(source.shape == view_.shape)) {
    throw InputError(fmt::format("{}: contents {} {} do not fit {} {}", label_,
                                 name_of(source.dtype), source.shape.text(), name_of(view_.dtype),
                                 view_.shape.text()));
  }
  if (view_.bytes() > 0) std::memcpy(view_.data, source.data, view_.bytes());
}

void GuardedBuffer::allow(Access access) {
  if (map_ == nullptr || open_bytes_ == 0) return;
  const int protection = access == Access::kNone   ? PROT_NONE
                         : access == Access::kRead ? PROT_READ
                                                   : PROT_READ | PROT_WRITE;
  if (mprotect(open_, open_bytes_, protection) != 0) {
    throw MachineError(fmt::format("cannot protect {}: {}", label_, std::strerror(errno)));
  }
  if (region_ >= 0) regions()[region_].access = access;
}

std::string GuardedBuffer::damage() const {
  if (map_ == nullptr) return "";
  const auto broken = [](std::byte b) { return b != kCanary; };
  const auto before = std::count_if(open_, view_.data, broken);
  if (before > 0) return fmt::format("{} bytes before {} were overwritten", before, label_);
  const auto behind = std::count_if(view_.data + view_.bytes(), open_ + open_bytes_, broken);
  if (behind > 0) return fmt::format("{} bytes behind {} were overwritten", behind, label_);
  return "";
}

std::uint64_t GuardedBuffer::content_hash() const {
  return hash_bytes({view_.data, view_.bytes()});
}

void poison(const Tensor& output) {
  const std::uint64_t pattern = poison_pattern(output.dtype);
  switch (size_of(output.dtype)) {
    case 8:
      return fill_with(output, pattern);
    case 4:
      return fill_with(output, static_cast<std::uint32_t>(pattern));
    case 2:
      return fill_with(output, static_cast<std::uint16_t>(pattern));
    default:
      return fill_with(output, static_cast<std::uint8_t>(pattern));
  }
}

bool is_poison(const Tensor& output, std::int64_t i) {
  const std::uint64_t pattern = poison_pattern(output.dtype);
  const std::size_t size = size_of(output.dtype);
  // Little-endian: the pattern's low bytes come first, whatever the element's size.
  return std::memcmp(output.data + static_cast<std::size_t>(i) * size, &pattern, size) == 0;
}

std::int64_t count_poison(const Tensor& output, std::int64_t* first) {
  std::int64_t count = 0;
  if (first != nullptr) *first = -1;
  for (std::int64_t i = 0; i < output.elements(); ++i) {
    if (!is_poison(output, i)) continue;
    if (count++ == 0 && first != nullptr) *first = i;
  }
  return count;
}

void describe_fault(const void* address, bool write, char* text, std::size_t size) noexcept {
  SignalSafeText out(text, size);
  const auto* where = static_cast<const std::byte*>(address);
  for (const Region& region : regions()) {
    if (!region.ready || where < region.map_begin || where >= region.map_end) continue;
    if (where >= region.data_begin && where < region.data_end) {
      return describe_inside(region, static_cast<std::size_t>(where - region.data_begin), write,
                             out);
    }
    const bool behind = where >= region.data_end;
    const std::size_t distance = behind ? static_cast<std::size_t>(where - region.data_end) + 1
                                        : static_cast<std::size_t>(region.data_begin - where);
    out << "guard: " << (write ? "wrote" : "read") << " byte " << distance
        << (behind ? " past the end of " : " before the begin of ") << region.label.data();
    return;
  }
}

}  // namespace pareto
