#include "harness/hdf5.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "harness/durable_file.h"
#include "harness/errors.h"

namespace pareto {
namespace {

// The library prints its error stack by default; here it becomes an exception instead. At the end
// of the program it would try once more to write what a full disk has refused, and crash.
void silence_library() {
  H5dont_atexit();
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

H5Handle file_access(bool latest_format) {
  silence_library();
  H5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_file_locking(access.id(), false, true);
  // Object headers of version 2: smaller, checksummed, and they keep the order of creation.
  if (latest_format) H5Pset_libver_bounds(access.id(), H5F_LIBVER_V18, H5F_LIBVER_V110);
  return access;
}

// Creation order is what netCDF-4 readers list variables and attributes by; times of creation would
// make two files of the same content differ.
H5Handle file_creation() {
  H5Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_link_creation_order(creation.id(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  H5Pset_attr_creation_order(creation.id(), H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  H5Pset_obj_track_times(creation.id(), false);
  return creation;
}

// The library takes files in memory of the same name for the same file.
std::string unique_name() {
  static std::atomic<std::uint64_t> number = 0;
  return fmt::format("memory {}", ++number);
}

struct StackSummary {
  std::string system;  // from strerror
  std::string innermost;
  std::string outermost;
};

herr_t visit_error(unsigned /*depth*/, const H5E_error2_t* error, void* context) {
  auto& summary = *static_cast<StackSummary*>(context);
  const std::string text = error->desc == nullptr ? "" : error->desc;
  constexpr std::string_view kMark = "error message = '";
  const std::size_t mark = text.find(kMark);
  if (mark != std::string::npos && summary.system.empty()) {
    const std::size_t begin = mark + kMark.size();
    summary.system = text.substr(begin, text.find('\'', begin) - begin);
  }
  if (summary.innermost.empty()) summary.innermost = text;
  summary.outermost = text;
  return 0;
}

// "No such file or directory" and the like, which the library words worse; "" if it can be opened.
std::string why_not_openable(const std::string& path, int flags) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0666);
  if (descriptor < 0) return std::strerror(errno);
  char byte = 0;
  const bool readable = (flags & O_ACCMODE) != O_RDONLY || ::read(descriptor, &byte, 1) >= 0;
  const std::string reason = readable ? "" : std::strerror(errno);
  ::close(descriptor);
  return reason;
}

}  // namespace

std::string h5_error_stack() {
  StackSummary summary;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, visit_error, &summary);
  H5Eclear2(H5E_DEFAULT);
  if (!summary.system.empty()) return summary.system;
  if (summary.innermost.empty()) return "unknown HDF5 error";
  if (summary.innermost == summary.outermost) return summary.innermost;
  return fmt::format("{} ({})", summary.innermost, summary.outermost);
}

H5File::H5File(H5Handle handle, std::string name, bool writing)
    : handle_(std::move(handle)), name_(std::move(name)), writing_(writing) {}

H5File H5File::open(const std::string& path) {
  const H5Handle access = file_access(false);
  refuse_special_file(path);
  const std::string reason = why_not_openable(path, O_RDONLY);
  if (!reason.empty()) throw InputError(fmt::format("{}: {}", path, reason));
  if (H5Fis_hdf5(path.c_str()) <= 0) {
    H5Eclear2(H5E_DEFAULT);
    throw InputError(fmt::format("{}: not an HDF5 file", path));
  }
  H5File file(H5Handle(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.id()), H5Fclose), path, false);
  file.check(file.id(), "cannot be opened");
  return file;
}

H5File H5File::create(const std::string& path, const std::string& name) {
  const std::string& known_as = name.empty() ? path : name;
  const H5Handle access = file_access(true);
  const std::string reason = why_not_openable(path, O_WRONLY | O_CREAT);
  if (!reason.empty()) throw MachineError(fmt::format("{}: {}", known_as, reason));
  const H5Handle creation = file_creation();
  H5Handle handle(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation.id(), access.id()), H5Fclose);
  H5File file(std::move(handle), known_as, true);
  file.check(file.id(), "cannot be created");
  return file;
}

H5File H5File::create_in_memory(const std::string& name) {
  constexpr std::size_t kGrowBytes = 16384;
  // The oldest format: H5Fget_file_image of 1.10 spoils the checksum of newer superblocks.
  const H5Handle access = file_access(false);
  H5Pset_fapl_core(access.id(), kGrowBytes, false);
  H5Handle handle(H5Fcreate(unique_name().c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.id()),
                  H5Fclose);
  H5File file(std::move(handle), name, true);
  file.check(file.id(), "cannot be created in memory");
  return file;
}

H5File H5File::open_image(std::span<const std::byte> bytes, const std::string& name) {
  const H5Handle access = file_access(false);
  H5Pset_fapl_core(access.id(), 4096, false);
  // The library copies the bytes; it takes a pointer to non-const all the same.
  H5Pset_file_image(access.id(), const_cast<std::byte*>(bytes.data()), bytes.size());
  H5Handle handle(H5Fopen(unique_name().c_str(), H5F_ACC_RDONLY, access.id()), H5Fclose);
  H5File file(std::move(handle), name, false);
  if (file.id() < 0) {
    const std::string stack = h5_error_stack();
    constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n";
    const bool foreign = bytes.size() < kSignature.size() ||
                         std::memcmp(bytes.data(), kSignature.data(), kSignature.size()) != 0;
    throw InputError(fmt::format("{}: {}", name, foreign ? "not an HDF5 file" : stack));
  }
  return file;
}

std::vector<std::byte> H5File::image() const {
  check(H5Fflush(id(), H5F_SCOPE_GLOBAL), "cannot be flushed");
  const ssize_t size = check(H5Fget_file_image(id(), nullptr, 0), "has no image");
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  check(H5Fget_file_image(id(), bytes.data(), bytes.size()), "has no image");
  return bytes;
}

void H5File::close() {
  // Flushed first: a failing H5Fclose leaves the library with a half-closed file.
  if (id() >= 0 && writing_) check(H5Fflush(id(), H5F_SCOPE_GLOBAL), "cannot be written");
  if (!handle_.close()) fail("cannot be closed");
}

void H5File::fail(const std::string& what) const {
  const std::string message = fmt::format("{}: {}: {}", name_, what, h5_error_stack());
  if (writing_) throw MachineError(message);
  throw InputError(message);
}

H5Handle h5_string_type() {
  H5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.id(), H5T_VARIABLE);
  H5Tset_cset(type.id(), H5T_CSET_UTF8);
  return type;
}

template <>
hid_t h5_type<double>() {
  return H5T_NATIVE_DOUBLE;
}
template <>
hid_t h5_type<float>() {
  return H5T_NATIVE_FLOAT;
}
template <>
hid_t h5_type<std::int8_t>() {
  return H5T_NATIVE_INT8;
}
template <>
hid_t h5_type<std::uint8_t>() {
  return H5T_NATIVE_UINT8;
}
template <>
hid_t h5_type<std::uint16_t>() {
  return H5T_NATIVE_UINT16;
}
template <>
hid_t h5_type<std::int32_t>() {
  return H5T_NATIVE_INT32;
}
template <>
hid_t h5_type<std::int64_t>() {
  return H5T_NATIVE_INT64;
}
template <>
hid_t h5_type<std::uint64_t>() {
  return H5T_NATIVE_UINT64;
}

}  // namespace pareto
