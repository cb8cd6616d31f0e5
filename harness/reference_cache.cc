#include "harness/reference_cache.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <span>
#include <system_error>

#include "build_info.h"
#include "harness/hash.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMagic = 0x31304645524f5450U;  // changes with the layout of the file
constexpr std::string_view kSuffix = ".terms";

std::uint64_t hash_number(std::uint64_t number, std::uint64_t seed) {
  return hash_bytes(std::as_bytes(std::span(&number, 1)), seed);
}

std::uint64_t hash_tensor(const HostTensor& tensor, std::uint64_t seed) {
  seed = hash_text(name_of(tensor.dtype()), seed);
  seed = hash_text(tensor.shape().text(), seed);
  return hash_bytes({tensor.view().data, tensor.view().bytes()}, seed);
}

std::uint64_t hash_positions(const Positions& positions, std::uint64_t seed) {
  for (const auto& list : positions) {
    seed = hash_number(list.size(), seed);
    seed = hash_bytes(std::as_bytes(std::span(list)), seed);
  }
  return seed;
}

std::uint64_t hash_problem(const Problem& problem) {
  const std::uint64_t sources = hash_text(build_info::kReferenceId);
  return hash_text(problem.text(), hash_text(problem.op().name(), sources));
}

std::size_t bytes_of(const ReferenceTerms& terms) {
  std::size_t bytes = sizeof(ReferenceTerms);
  for (const Terms& output : terms) {
    for (const auto& column : output.column)
      bytes += column.size() * sizeof(double) + sizeof(column);
  }
  return bytes;
}

/// Numbers one after another; reading past the end sets `bad` and gives zero.
struct Reader {
  std::span<const std::byte> left;
  bool bad = false;

  std::uint64_t number() {
    std::uint64_t value = 0;
    if (left.size() < sizeof(value)) {
      bad = true;
      return 0;
    }
    std::memcpy(&value, left.data(), sizeof(value));
    left = left.subspan(sizeof(value));
    return value;
  }
  std::vector<double> doubles(std::uint64_t count) {
    if (left.size() / sizeof(double) < count) {
      bad = true;
      return {};
    }
    std::vector<double> values(count);
    if (count > 0) std::memcpy(values.data(), left.data(), count * sizeof(double));
    left = left.subspan(count * sizeof(double));
    return values;
  }
};

void append(std::string& bytes, std::uint64_t number) {
  bytes.append(reinterpret_cast<const char*>(&number), sizeof(number));
}

std::string serialized(const std::string& key, const ReferenceTerms& terms) {
  std::string bytes;
  append(bytes, kMagic);
  append(bytes, hash_text(key));
  append(bytes, terms.size());
  for (const Terms& output : terms) {
    append(bytes, output.column.size());
    for (const auto& column : output.column) {
      append(bytes, column.size());
      bytes.append(reinterpret_cast<const char*>(column.data()), column.size() * sizeof(double));
    }
  }
  append(bytes, hash_text(bytes));
  return bytes;
}

/// Null if the bytes are not a whole, undamaged entry of this key.
std::shared_ptr<const ReferenceTerms> deserialized(const std::string& key,
                                                   const std::string& bytes) {
  if (bytes.size() < 4 * sizeof(std::uint64_t)) return nullptr;
  const std::size_t body = bytes.size() - sizeof(std::uint64_t);
  std::uint64_t checksum = 0;
  std::memcpy(&checksum, bytes.data() + body, sizeof(checksum));
  if (checksum != hash_text(std::string_view(bytes).substr(0, body))) return nullptr;
  Reader reader{std::as_bytes(std::span(bytes.data(), body))};
  if (reader.number() != kMagic || reader.number() != hash_text(key)) return nullptr;
  auto terms = std::make_shared<ReferenceTerms>();
  const std::uint64_t outputs = reader.number();
  for (std::uint64_t i = 0; i < outputs && !reader.bad; ++i) {
    Terms& output = terms->emplace_back();
    const std::uint64_t columns = reader.number();
    for (std::uint64_t j = 0; j < columns && !reader.bad; ++j) {
      output.column.push_back(reader.doubles(reader.number()));
    }
  }
  return reader.bad || !reader.left.empty() ? nullptr : terms;
}

fs::path default_folder() {
  const auto variable = [](const char* name) -> fs::path {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  if (const fs::path own = variable("PARETO_CACHE_DIR"); !own.empty()) return own / "reference";
  if (const fs::path xdg = variable("XDG_CACHE_HOME"); !xdg.empty()) {
    return xdg / "pareto" / "reference";
  }
  const fs::path home = variable("HOME");
  return home.empty() ? fs::path{} : home / ".cache" / "pareto" / "reference";
}

}  // namespace

ReferenceCache::ReferenceCache(fs::path folder, const Limits& limits)
    : folder_(std::move(folder)), limits_(limits) {
  std::error_code ignored;  // without the folder every look-up misses and every store is dropped
  if (!folder_.empty()) fs::create_directories(folder_, ignored);
}

ReferenceCache& ReferenceCache::shared() {
  static ReferenceCache cache(default_folder());
  return cache;
}

std::shared_ptr<const ReferenceTerms> ReferenceCache::terms(const Problem& problem,
                                                            const Operands& operands,
                                                            const Positions& positions,
                                                            int threads) {
  std::uint64_t hash = hash_problem(problem);
  for (const HostTensor& operand : operands) hash = hash_tensor(operand, hash);
  return find_or("reference-" + hex(hash_positions(positions, hash)),
                 [&] { return problem.op().reference(problem, operands, positions, threads); });
}

std::shared_ptr<const std::vector<std::vector<double>>> ReferenceCache::original(
    const Problem& problem, const TensorMap& inputs, const Positions& positions, int threads) {
  std::uint64_t hash = hash_problem(problem);
  for (const auto& [name, tensor] : inputs) hash = hash_tensor(tensor, hash_text(name, hash));
  const auto terms = find_or("original-" + hex(hash_positions(positions, hash)), [&] {
    ReferenceTerms wrapped;
    for (auto& values : problem.op().original(problem, inputs, positions, threads)) {
      wrapped.push_back({{std::move(values)}});
    }
    return wrapped;
  });
  auto values = std::make_shared<std::vector<std::vector<double>>>();
  for (const Terms& output : *terms) values->push_back(output.column.at(0));
  return values;
}

template <typename Compute>
std::shared_ptr<const ReferenceTerms> ReferenceCache::find_or(const std::string& key,
                                                              Compute compute) {
  if (auto found = in_memory(key)) return found;
  if (auto found = on_disk(key)) {
    remember(key, found);
    return found;
  }
  const auto start = Clock::now();
  auto computed = std::make_shared<const ReferenceTerms>(compute());
  const double elapsed_s = std::chrono::duration<double>(Clock::now() - start).count();
  remember(key, computed);
  if (elapsed_s >= limits_.min_compute_s) store(key, *computed);
  return computed;
}

std::shared_ptr<const ReferenceTerms> ReferenceCache::in_memory(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found = index_.find(key);
  if (found == index_.end()) return nullptr;
  recent_.splice(recent_.begin(), recent_, found->second);
  return found->second->terms;
}

void ReferenceCache::remember(const std::string& key, std::shared_ptr<const ReferenceTerms> terms) {
  const std::size_t bytes = bytes_of(*terms);
  const std::lock_guard lock(mutex_);
  if (index_.contains(key)) return;
  recent_.push_front({key, std::move(terms), bytes});
  index_[key] = recent_.begin();
  memory_bytes_ += bytes;
  while (memory_bytes_ > limits_.memory_bytes && recent_.size() > 1) {
    memory_bytes_ -= recent_.back().bytes;
    index_.erase(recent_.back().key);
    recent_.pop_back();
  }
}

std::shared_ptr<const ReferenceTerms> ReferenceCache::on_disk(const std::string& key) const {
  if (folder_.empty()) return nullptr;
  const fs::path path = folder_ / (key + std::string(kSuffix));
  std::ifstream file(path, std::ios::binary);
  if (!file) return nullptr;
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  auto terms = deserialized(key, bytes);
  std::error_code ignored;
  if (terms == nullptr) {
    fs::remove(path, ignored);
  } else {
    fs::last_write_time(path, fs::file_time_type::clock::now(), ignored);  // recently used
  }
  return terms;
}

void ReferenceCache::store(const std::string& key, const ReferenceTerms& terms) const {
  if (folder_.empty()) return;
  static std::atomic<int> counter{0};
  const fs::path path = folder_ / (key + std::string(kSuffix));
  const fs::path temporary = folder_ / fmt::format(".{}.{}.{}", key, getpid(), counter++);
  const std::string bytes = serialized(key, terms);
  std::error_code failed;
  {
    std::ofstream file(temporary, std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    file.close();
    if (file.fail()) failed = std::make_error_code(std::errc::io_error);
  }
  if (!failed) fs::rename(temporary, path, failed);
  std::error_code ignored;
  if (failed) fs::remove(temporary, ignored);
  trim_disk();
}

void ReferenceCache::trim_disk() const {
  struct File {
    fs::path path;
    fs::file_time_type used;
    std::uintmax_t bytes;
  };
  std::vector<File> files;
  std::uintmax_t total = 0;
  std::error_code error;
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;  // another process may remove files meanwhile
    const auto bytes = it->file_size(gone);
    const auto used = it->last_write_time(gone);
    if (gone) continue;
    files.push_back({it->path(), used, bytes});
    total += bytes;
  }
  std::sort(files.begin(), files.end(),
            [](const File& a, const File& b) { return a.used < b.used; });
  for (const File& file : files) {
    if (total <= limits_.disk_bytes) return;
    std::error_code ignored;
    fs::remove(file.path, ignored);
    total -= file.bytes;
  }
}

}  // namespace pareto
