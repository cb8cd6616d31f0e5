#include "harness/tensor_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <filesystem>
#include <limits>
#include <vector>

#include "harness/durable_file.h"
#include "harness/errors.h"
#include "harness/hdf5.h"
#include "harness/machine.h"
#include "harness/matrix_file.h"
#include "harness/safetensors.h"

namespace pareto {
namespace {

namespace fs = std::filesystem;

struct PathSpec {
  std::string file;
  std::string group = "/";
};

PathSpec split(const std::string& spec) {
  const std::size_t colon = spec.find(":/");
  std::error_code unknown;  // the reason shows when the file is opened
  if (colon == std::string::npos || fs::exists(spec, unknown)) return {spec};
  const std::string before = spec.substr(0, colon);
  if (fs::is_directory(before, unknown)) return {before + spec.substr(colon + 1)};
  return {before, spec.substr(colon + 1)};
}

bool is_safetensors(const std::string& path) { return path.ends_with(".safetensors"); }

// One dataset on its way into a tensor; `where` is "file: dataset 'x'".
struct Stored {
  hid_t dataset;
  hid_t type;
  Shape shape;
  std::string where;
};

// Bytes of the tensor that it becomes; what is narrowed takes more for a while.
double least_memory(const Stored& source) {
  const std::size_t element = H5Tget_size(source.type) == 1 ? 1 : sizeof(float);
  return static_cast<double>(element) * static_cast<double>(source.shape.elements());
}

void read_as(const H5File& file, const Stored& source, hid_t memory, void* to) {
  if (source.shape.elements() == 0) return;
  file.check(H5Dread(source.dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, to), source.where);
}

HostTensor read_float(const H5File& file, const Stored& source) {
  HostTensor tensor(DType::kF32, source.shape);
  const std::span<float> to = tensor.span<float>();
  if (H5Tget_size(source.type) <= sizeof(float)) {
    read_as(file, source, H5T_NATIVE_FLOAT, to.data());
    return tensor;
  }
  // The library turns what rounds to the largest float into infinity; the compiler does not.
  std::vector<double> wide(to.size());
  read_as(file, source, H5T_NATIVE_DOUBLE, wide.data());
  for (std::size_t i = 0; i < to.size(); ++i) {
    to[i] = static_cast<float>(wide[i]);
    if (std::isinf(to[i]) && std::isfinite(wide[i])) {
      throw InputError(fmt::format("{}: element {} = {} overflows fp32, whose largest value is {}",
                                   source.where, i, wide[i], std::numeric_limits<float>::max()));
    }
  }
  return tensor;
}

HostTensor read_bf16(const H5File& file, const Stored& source) {
  HostTensor tensor(DType::kF32, source.shape);
  const std::span<float> to = tensor.span<float>();
  std::vector<std::uint16_t> bits(to.size());
  read_as(file, source, H5T_NATIVE_UINT16, bits.data());
  std::transform(bits.begin(), bits.end(), to.begin(), [](std::uint16_t half) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16);
  });
  return tensor;
}

template <typename T>
HostTensor read_kept(const H5File& file, const Stored& source, DType dtype) {
  HostTensor tensor(dtype, source.shape);
  read_as(file, source, h5_type<T>(), tensor.span<T>().data());
  return tensor;
}

HostTensor read_narrowed(const H5File& file, const Stored& source) {
  HostTensor tensor(DType::kS32, source.shape);
  const std::span<std::int32_t> to = tensor.span<std::int32_t>();
  // Unsigned 64-bit values above the signed range saturate and are caught as out of range.
  std::vector<std::int64_t> wide(to.size());
  read_as(file, source, H5T_NATIVE_INT64, wide.data());
  for (std::size_t i = 0; i < to.size(); ++i) {
    to[i] = static_cast<std::int32_t>(wide[i]);
    if (to[i] != wide[i]) {
      throw InputError(fmt::format("{} holds {}, which does not fit int32", source.where, wide[i]));
    }
  }
  return tensor;
}

// A boolean of h5py: an enumeration over one byte.
HostTensor read_boolean(const H5File& file, const Stored& source) {
  HostTensor tensor(DType::kU8, source.shape);
  read_as(file, source, source.type, tensor.span<std::uint8_t>().data());
  return tensor;
}

bool is_bf16(const H5File& file, hid_t dataset) {
  return has_attribute(file, dataset, "dtype") &&
         read_text_attribute(file, dataset, "dtype") == "bf16";
}

HostTensor read_integer(const H5File& file, const Stored& source) {
  const std::size_t size = H5Tget_size(source.type);
  const bool is_signed = H5Tget_sign(source.type) == H5T_SGN_2;
  if (size == 1 && is_signed) return read_kept<std::int8_t>(file, source, DType::kS8);
  if (size == 1) return read_kept<std::uint8_t>(file, source, DType::kU8);
  if (size == 4 && is_signed) return read_kept<std::int32_t>(file, source, DType::kS32);
  if (size == 2 && !is_signed && is_bf16(file, source.dataset)) return read_bf16(file, source);
  return read_narrowed(file, source);
}

Shape shape_of(const H5File& file, hid_t dataset, const std::string& where) {
  const H5Handle space(H5Dget_space(dataset), H5Sclose);
  if (H5Sget_simple_extent_type(space.id()) == H5S_NULL) {
    throw InputError(fmt::format("{} has no data space", where));
  }
  const std::vector<hsize_t> extents = extents_of(file, dataset);
  if (extents.empty()) return {1};
  std::vector<std::int64_t> sizes(extents.begin(), extents.end());
  try {
    return Shape(std::span<const std::int64_t>(sizes));
  } catch (const InputError& error) {
    throw InputError(fmt::format("{} is {}", where, error.what()));
  } catch (const MachineError& error) {
    throw MachineError(fmt::format("{}: {}", where, error.what()));
  }
}

HostTensor read_tensor(const H5File& file, const std::string& path) {
  const H5Handle dataset = open_dataset(file, path);
  const H5Handle type(H5Dget_type(dataset.id()), H5Tclose);
  const std::string where = fmt::format("{}: dataset '{}'", file.name(), path);
  const Stored source{dataset.id(), type.id(), shape_of(file, dataset.id(), where), where};
  require_memory(where, least_memory(source));
  switch (H5Tget_class(type.id())) {
    case H5T_FLOAT:
      return read_float(file, source);
    case H5T_INTEGER:
      return read_integer(file, source);
    case H5T_ENUM:
      if (H5Tget_size(type.id()) == 1) return read_boolean(file, source);
      break;
    default:
      break;
  }
  throw InputError(fmt::format("{} holds neither integers nor floats", where));
}

bool is_dataset(const H5File& file, const std::string& path) {
  H5O_info_t info;
  if (H5Oget_info_by_name2(file.id(), path.c_str(), &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0) {
    const std::string reason = h5_error_stack();
    throw InputError(fmt::format("{}: link '{}' leads nowhere: {}", file.name(), path, reason));
  }
  return info.type == H5O_TYPE_DATASET;
}

TensorMap read_hdf5(const PathSpec& spec) {
  const H5File file = H5File::open(spec.file);
  const H5Handle group = open_group(file, spec.group);
  const std::string prefix = spec.group.ends_with('/') ? spec.group : spec.group + "/";
  TensorMap tensors;
  for (const std::string& name : names_in(file, group.id())) {
    if (is_dataset(file, prefix + name)) tensors[name] = read_tensor(file, prefix + name);
  }
  return tensors;
}

std::vector<float> as_floats(const HostTensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(tensor.value(static_cast<std::int64_t>(i)));
  }
  return values;
}

void write_tensor(const H5File& file, const std::string& path, const HostTensor& tensor) {
  std::vector<hsize_t> extents;
  for (int axis = 0; axis < tensor.shape().rank(); ++axis) {
    extents.push_back(static_cast<hsize_t>(tensor.shape()[axis]));
  }
  const auto write = [&]<typename T>(std::span<const T> values) {
    write_dataset(file, path, std::span<const hsize_t>(extents), values);
  };
  switch (tensor.dtype()) {
    case DType::kF64:
      return write(std::span<const double>(tensor.span<double>()));
    case DType::kF32:
      return write(std::span<const float>(tensor.span<float>()));
    case DType::kS8:
      return write(std::span<const std::int8_t>(tensor.span<std::int8_t>()));
    case DType::kU8:
      return write(std::span<const std::uint8_t>(tensor.span<std::uint8_t>()));
    case DType::kS32:
      return write(std::span<const std::int32_t>(tensor.span<std::int32_t>()));
    case DType::kS64:
      return write(std::span<const std::int64_t>(tensor.span<std::int64_t>()));
    default: {
      const std::vector<float> values = as_floats(tensor);
      return write(std::span<const float>(values));
    }
  }
}

void write_hdf5(const PathSpec& spec, const TensorMap& tensors) {
  PendingFile pending(spec.file);
  H5File file = H5File::create(pending.temporary(), spec.file);
  const std::string prefix = spec.group.ends_with('/') ? spec.group : spec.group + "/";
  for (const auto& [name, tensor] : tensors) write_tensor(file, prefix + name, tensor);
  file.close();
  pending.publish_or_fail();
}

// "A,B" are two files unless that is the name of one.
std::vector<std::string> parts_of(const std::string& path_spec) {
  std::vector<std::string> parts;
  std::string rest = path_spec;
  std::error_code unknown;
  for (std::size_t comma = rest.find(','); comma != std::string::npos && !fs::exists(rest, unknown);
       comma = rest.find(',')) {
    parts.push_back(rest.substr(0, comma));
    rest.erase(0, comma + 1);
  }
  parts.push_back(rest);
  return parts;
}

TensorMap read_part(const std::string& path_spec) {
  const PathSpec spec = split(path_spec);
  const bool is_matrix = is_matrix_file(spec.file);
  if (!is_matrix && !is_safetensors(spec.file)) return read_hdf5(spec);
  if (spec.group != "/") {
    throw InputError(fmt::format("{}: only HDF5 files have groups", path_spec));
  }
  return is_matrix ? read_matrix_file(spec.file) : read_safetensors(spec.file);
}

}  // namespace

std::string file_of(const std::string& path_spec) { return split(path_spec).file; }

std::vector<fs::path> files_of(const std::string& path_spec) {
  std::vector<fs::path> files;
  for (const std::string& part : parts_of(path_spec)) files.emplace_back(split(part).file);
  return files;
}

TensorMap read_tensors(const std::string& path_spec) {
  TensorMap tensors;
  for (const std::string& part : parts_of(path_spec)) {
    for (auto& [name, tensor] : read_part(part)) {
      if (!tensors.emplace(name, std::move(tensor)).second) {
        throw InputError(fmt::format("{}: dataset '{}' is in two of the files", path_spec, name));
      }
    }
  }
  return tensors;
}

void write_tensors(const std::string& path_spec, const TensorMap& tensors) {
  const PathSpec spec = split(path_spec);
  if (is_safetensors(spec.file)) return write_safetensors(spec.file, tensors);
  write_hdf5(spec, tensors);
}

}  // namespace pareto
