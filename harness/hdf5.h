// Thin RAII over the HDF5 C API. Failing calls throw the library's own error stack in one line:
// InputError for a file that is read, MachineError for one that is written. The library is not
// thread-safe: use it from one thread at a time.
#pragma once

#include <hdf5.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace pareto {

/// An HDF5 identifier of any kind with the function that closes it.
class H5Handle {
 public:
  using Closer = herr_t (*)(hid_t);
  H5Handle() = default;
  H5Handle(hid_t id, Closer closer) : id_(id), closer_(closer) {}
  H5Handle(H5Handle&& other) noexcept
      : id_(std::exchange(other.id_, H5I_INVALID_HID)), closer_(other.closer_) {}
  H5Handle& operator=(H5Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(closer_, other.closer_);
    return *this;
  }
  H5Handle(const H5Handle&) = delete;
  H5Handle& operator=(const H5Handle&) = delete;
  ~H5Handle() { (void)close(); }

  [[nodiscard]] hid_t id() const { return id_; }
  /// False if the library reports an error, as a full disk does when a file is closed.
  bool close() noexcept { return id_ < 0 || closer_(std::exchange(id_, H5I_INVALID_HID)) >= 0; }

 private:
  hid_t id_ = H5I_INVALID_HID;
  Closer closer_ = nullptr;
};

/// An open file and the name that error messages give it. Locks are never taken: they block a
/// second reader and clusters switch them off.
class H5File {
 public:
  /// Read only. InputError: "x.h5: No such file or directory", "x.h5: not an HDF5 file".
  static H5File open(const std::string& path);
  /// A new file at `path`, replacing what is there. MachineError gives the reason and `name`, under
  /// which the file will be known (the path if empty).
  static H5File create(const std::string& path, const std::string& name = "");
  /// A file in memory; see `image`.
  static H5File create_in_memory(const std::string& name);
  /// A file in memory from its bytes, which are copied. InputError if they are not a whole file.
  static H5File open_image(std::span<const std::byte> bytes, const std::string& name);

  [[nodiscard]] hid_t id() const { return handle_.id(); }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool writing() const { return writing_; }
  /// The bytes that the file would have on disk.
  [[nodiscard]] std::vector<std::byte> image() const;
  /// Flushes and closes; MachineError if that fails. The destructor closes in silence.
  void close();
  /// Throws the library's error stack as "name: what: reason" if `result` is negative.
  template <typename T>
  T check(T result, const std::string& what) const {
    if (result < 0) fail(what);
    return result;
  }
  [[noreturn]] void fail(const std::string& what) const;

 private:
  H5File(H5Handle handle, std::string name, bool writing);
  H5Handle handle_;
  std::string name_;
  bool writing_ = false;
};

/// The library's error stack in one line, then cleared: the system's message if there is one, else
/// the innermost message and the outermost.
std::string h5_error_stack();

/// The memory type of T: double, float, std::int8_t … std::uint64_t.
template <typename T>
hid_t h5_type();

/// UTF-8 string of variable length, which every reader (h5py, netCDF-4, pandas) takes as text.
H5Handle h5_string_type();

/// Sets an attribute of an object, replacing it. `object` is a file, group or dataset.
void write_attribute(const H5File& file, hid_t object, const std::string& name,
                     const std::string& text);
void write_attribute(const H5File& file, hid_t object, const std::string& name, std::int64_t value);
void write_attribute(const H5File& file, hid_t object, const std::string& name, double value);
[[nodiscard]] bool has_attribute(const H5File& file, hid_t object, const std::string& name);
/// A string attribute, of fixed or variable length. InputError if it is absent or no string.
std::string read_text_attribute(const H5File& file, hid_t object, const std::string& name);
std::int64_t read_integer_attribute(const H5File& file, hid_t object, const std::string& name);

/// Opens "/group/dataset" (or a group). InputError naming file and path if it is not there.
H5Handle open_dataset(const H5File& file, const std::string& path);
H5Handle open_group(const H5File& file, const std::string& path);
[[nodiscard]] bool has_link(const H5File& file, const std::string& path);
/// Names in a group, in alphabetical order.
std::vector<std::string> names_in(const H5File& file, hid_t group);
/// Extents of a dataset; empty for a scalar.
std::vector<hsize_t> extents_of(const H5File& file, hid_t dataset);

/// Writes a contiguous dataset of numbers, row-major, creating the groups on its path.
template <typename T>
void write_dataset(const H5File& file, const std::string& path, std::span<const hsize_t> extents,
                   std::span<const T> values);
/// A text as a scalar dataset of fixed length (no limit of 64 KiB, unlike an attribute).
void write_text(const H5File& file, const std::string& path, const std::string& text);
std::string read_text(const H5File& file, const std::string& path);

/// All elements of a dataset of numbers, converted to T by the library.
template <typename T>
std::vector<T> read_dataset(const H5File& file, const std::string& path);
/// All elements of a dataset of strings, of fixed or variable length.
std::vector<std::string> read_strings(const H5File& file, const std::string& path);

}  // namespace pareto
