#include "harness/durable_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <string_view>
#include <utility>

#include "harness/errors.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".tmp";

class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  ~Descriptor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return descriptor_; }
  bool close() { return ::close(std::exchange(descriptor_, -1)) == 0; }

 private:
  int descriptor_;
};

[[noreturn]] void fail(const fs::path& path, int error) {
  throw MachineError(fmt::format("{}: {}", path.string(), std::strerror(error)));
}

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

// ".<name>.<pid>.<number>.<host>.tmp": tells whoever cleans up whose it is.
fs::path temporary_for(const fs::path& target) {
  static int number = 0;
  return target.parent_path() / fmt::format(".{}.{}.{}.{}{}", target.stem().string(), ::getpid(),
                                            ++number, host_name(), kSuffix);
}

// The writer of a temporary file if it ran on this host; 0 if the name says nothing of the kind.
pid_t writer_on_this_host(const std::string& name) {
  const std::string ending = "." + host_name() + std::string(kSuffix);
  if (!name.starts_with('.') || !name.ends_with(ending)) return 0;
  const std::size_t begin = name.find('.', 1);
  if (begin == std::string::npos) return 0;
  pid_t process = 0;
  std::from_chars(name.data() + begin + 1, name.data() + name.size(), process);
  return process;
}

void write_all(int descriptor, std::span<const std::byte> bytes, const fs::path& target) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(target, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

}  // namespace

PendingFile::PendingFile(fs::path target)
    : target_(std::move(target)), temporary_(temporary_for(target_)) {
  if (target_.empty()) throw InputError("the path of a file to write is empty");
  // A file takes its name by replacing what has it: nobody's device or pipe.
  struct stat there {};
  const bool replaces = ::stat(target_.c_str(), &there) == 0;
  if (replaces && S_ISDIR(there.st_mode)) fail(target_, EISDIR);
  if (replaces && !S_ISREG(there.st_mode)) {
    throw MachineError(fmt::format("{}: is not a regular file", target_.string()));
  }
}

PendingFile::PendingFile(fs::path target, std::span<const std::byte> bytes)
    : PendingFile(std::move(target)) {
  Descriptor file(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.get() < 0) fail(target_, errno);
  write_all(file.get(), bytes, target_);
  if (::fsync(file.get()) != 0 || !file.close()) fail(target_, errno);
}

PendingFile::PendingFile(PendingFile&& other) noexcept
    : target_(std::move(other.target_)), temporary_(std::exchange(other.temporary_, fs::path())) {}

PendingFile::~PendingFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void PendingFile::sync() const {
  const Descriptor file(::open(temporary_.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0 || ::fsync(file.get()) != 0) fail(target_, errno);
}

bool PendingFile::publish() {
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    if (errno == ENOENT) return false;
    fail(target_, errno);
  }
  temporary_.clear();
  return true;
}

void PendingFile::publish_or_fail() {
  if (!publish()) fail(target_, ENOENT);
}

FolderLock::FolderLock(const fs::path& folder)
    : descriptor_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  while (descriptor_ >= 0 && ::flock(descriptor_, LOCK_EX) != 0 && errno == EINTR) {
  }
}

FolderLock::~FolderLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void refuse_to_overwrite(std::span<const fs::path> inputs, const std::string& option,
                         const fs::path& target) {
  for (const fs::path& input : inputs) {
    std::error_code ignored;
    if (!fs::equivalent(input, target, ignored)) continue;
    throw InputError(
        fmt::format("{} {}: is an input and would be overwritten", option, target.string()));
  }
}

void refuse_special_file(const fs::path& path) {
  std::error_code ignored;
  const fs::file_status there = fs::status(path, ignored);
  if (!fs::exists(there) || fs::is_regular_file(there) || fs::is_directory(there)) return;
  throw InputError(fmt::format("{}: is not a regular file", path.string()));
}

void sync_folder(const fs::path& folder) {
  const Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.get() < 0) fail(folder, errno);
  // Some network file systems cannot sync a folder and say EINVAL; they order renames themselves.
  if (::fsync(descriptor.get()) != 0 && errno != EINVAL) fail(folder, errno);
}

void remove_stale_temporaries(const fs::path& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const pid_t process = writer_on_this_host(entry.path().filename());
    if (process > 0 && ::kill(process, 0) != 0 && errno == ESRCH) ::unlink(entry.path().c_str());
  }
}

std::vector<std::byte> read_whole_file(const fs::path& path) {
  const auto refuse = [&]() {
    throw InputError(fmt::format("{}: {}", path.string(), std::strerror(errno)));
  };
  refuse_special_file(path);
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) refuse();
  std::vector<std::byte> bytes(static_cast<std::size_t>(status.st_size));
  std::size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t count = ::read(file.get(), bytes.data() + filled, bytes.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) refuse();
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  bytes.resize(filled);
  return bytes;
}

}  // namespace pareto
