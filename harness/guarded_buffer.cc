#include "harness/guarded_buffer.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "harness/errors.h"
#include "harness/hash.h"
#include "harness/poison.h"

namespace pareto {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20U;
constexpr std::size_t kLine = 64;
constexpr std::size_t kTimedCanary = 4 * kLine;
constexpr std::byte kCanary{0xC5};
// Enough that a writer who is still busy is caught, few enough to be read within a microsecond or
// two. The last element is among them.
constexpr std::int64_t kSampledElements = 128;

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

}  // namespace

GuardedBuffer::GuardedBuffer(std::string label, DType dtype, const Shape& shape, Layout layout)
    : label_(std::move(label)) {
  view_.dtype = dtype;
  view_.shape = shape;
  if (!view_.present()) return;
  if (layout == Layout::kTimed) {
    allocate_timed();
  } else {
    allocate_guarded(layout);
  }
  paint_canaries();
}

void GuardedBuffer::map_pages(std::size_t bytes, int protection) {
  void* map = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) out_of_memory(label_, bytes);
  map_ = static_cast<std::byte*>(map);
  map_bytes_ = bytes;
}

void GuardedBuffer::allocate_guarded(Layout layout) {
  const std::size_t page = page_bytes();
  const std::size_t bytes = view_.bytes();
  open_bytes_ = rounded_up(bytes, page);
  map_pages(open_bytes_ + 2 * page, PROT_NONE);
  open_ = map_ + page;
  if (open_bytes_ > 0 && mprotect(open_, open_bytes_, PROT_READ | PROT_WRITE) != 0) {
    munmap(map_, map_bytes_);
    map_ = nullptr;
    out_of_memory(label_, open_bytes_);
  }
  view_.data = layout == Layout::kGuardAfter ? open_ + open_bytes_ - bytes : open_;
  register_region();
}

// Without guard pages: cold rotations hold tens of thousands of buffers, and every change of
// protection costs one of the 65,530 mappings that a process may have.
void GuardedBuffer::allocate_timed() {
  const std::size_t bytes = view_.bytes();
  if (bytes < kHugePage) {
    open_bytes_ = rounded_up(bytes, kLine) + 2 * kTimedCanary;
    map_ = static_cast<std::byte*>(std::aligned_alloc(kLine, open_bytes_));
    if (map_ == nullptr) out_of_memory(label_, open_bytes_);
    open_ = map_;
    view_.data = open_ + kTimedCanary;
    return;
  }
  // Same offset every time, but different among the operands of a call: starts that agree in their
  // low 12 bits would compete for the same cache sets.
  const std::size_t offset = kTimedCanary + kLine * (hash_text(label_) % 32);
  open_bytes_ = rounded_up(offset + bytes + kTimedCanary, page_bytes());
  map_pages(open_bytes_ + kHugePage, PROT_READ | PROT_WRITE);
  const auto start = reinterpret_cast<std::uintptr_t>(map_);
  open_ = map_ + (rounded_up(start, kHugePage) - start);
  madvise(open_, open_bytes_, MADV_HUGEPAGE);  // refused by some kernels: only slower
  view_.data = open_ + offset;
}

void GuardedBuffer::register_region() {
  region_ = claim_region();
  if (region_ < 0) return;
  Region& region = regions()[region_];
  region.map_begin = map_;
  region.map_end = map_ + map_bytes_;
  region.data_begin = view_.data;
  region.data_end = view_.data + view_.bytes();
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
  if (map_bytes_ > 0) {
    munmap(map_, map_bytes_);
  } else {
    std::free(map_);
  }
}

void GuardedBuffer::fill(const Tensor& source) {
  if (source.dtype != view_.dtype || !(source.shape == view_.shape)) {
    throw InputError(fmt::format("{}: contents {} {} do not fit {} {}", label_,
                                 name_of(source.dtype), source.shape.text(), name_of(view_.dtype),
                                 view_.shape.text()));
  }
  if (view_.bytes() > 0) std::memcpy(view_.data, source.data, view_.bytes());
}

void GuardedBuffer::read(const Tensor& into) const {
  if (view_.bytes() > 0) std::memcpy(into.data, view_.data, view_.bytes());
}

void GuardedBuffer::poison() { pareto::poison(view_); }

void GuardedBuffer::allow(Access access) {
  if (region_ < 0 || open_bytes_ == 0) return;
  const int protection = access == Access::kNone   ? PROT_NONE
                         : access == Access::kRead ? PROT_READ
                                                   : PROT_READ | PROT_WRITE;
  if (mprotect(open_, open_bytes_, protection) != 0) {
    throw MachineError(fmt::format("cannot protect {}: {}", label_, std::strerror(errno)));
  }
  regions()[region_].access = access;
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

void GuardedBuffer::append_sample(std::vector<std::uint64_t>& bits) const {
  const std::int64_t count = std::min(view_.elements(), kSampledElements);
  const std::size_t width = size_of(view_.dtype);
  for (std::int64_t i = 1; i <= count; ++i) {
    const auto element = static_cast<std::size_t>(view_.elements() * i / count - 1);
    std::uint64_t value = 0;
    std::memcpy(&value, view_.data + element * width, width);
    bits.push_back(value);
  }
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
