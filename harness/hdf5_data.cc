// Attributes and datasets of harness/hdf5.h.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "harness/errors.h"
#include "harness/hdf5.h"

namespace pareto {
namespace {

struct FreeHdf5 {
  void operator()(char* text) const { H5free_memory(text); }
};

H5Handle intermediate_groups() {
  H5Handle creation(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(creation.id(), 1);
  return creation;
}

H5Handle space_of(std::span<const hsize_t> extents) {
  if (extents.empty()) return {H5Screate(H5S_SCALAR), H5Sclose};
  return {H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr), H5Sclose};
}

// Replaces the attribute by a scalar of `type`, whose memory is at `value`.
void write_scalar_attribute(const H5File& file, hid_t object, const std::string& name, hid_t type,
                            const void* value) {
  if (has_attribute(file, object, name)) file.check(H5Adelete(object, name.c_str()), name);
  const H5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const H5Handle attribute(
      H5Acreate2(object, name.c_str(), type, space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  file.check(attribute.id(), name);
  file.check(H5Awrite(attribute.id(), type, value), name);
}

H5Handle open_attribute(const H5File& file, hid_t object, const std::string& name) {
  if (!has_attribute(file, object, name)) {
    throw InputError(fmt::format("{}: attribute '{}' is missing", file.name(), name));
  }
  H5Handle attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose);
  file.check(attribute.id(), name);
  return attribute;
}

void expect_class(const H5File& file, hid_t type, H5T_class_t wanted, const std::string& what) {
  if (H5Tget_class(type) != wanted) {
    throw InputError(fmt::format("{}: {} must hold {}", file.name(), what,
                                 wanted == H5T_STRING ? "text" : "integers"));
  }
}

std::string without_padding(const char* text, std::size_t size) {
  return {text, std::find(text, text + size, '\0')};
}

hsize_t count_of(std::span<const hsize_t> extents) {
  hsize_t count = 1;
  for (const hsize_t extent : extents) count *= extent;
  return count;
}

}  // namespace

void write_attribute(const H5File& file, hid_t object, const std::string& name,
                     const std::string& text) {
  const H5Handle type = h5_string_type();
  const char* pointer = text.c_str();
  write_scalar_attribute(file, object, name, type.id(), &pointer);
}

void write_attribute(const H5File& file, hid_t object, const std::string& name,
                     std::int64_t value) {
  write_scalar_attribute(file, object, name, H5T_NATIVE_INT64, &value);
}

void write_attribute(const H5File& file, hid_t object, const std::string& name, double value) {
  write_scalar_attribute(file, object, name, H5T_NATIVE_DOUBLE, &value);
}

bool has_attribute(const H5File& file, hid_t object, const std::string& name) {
  return file.check(H5Aexists(object, name.c_str()), name) > 0;
}

std::string read_text_attribute(const H5File& file, hid_t object, const std::string& name) {
  const H5Handle attribute = open_attribute(file, object, name);
  const H5Handle type(H5Aget_type(attribute.id()), H5Tclose);
  expect_class(file, type.id(), H5T_STRING, fmt::format("attribute '{}'", name));
  if (H5Tis_variable_str(type.id()) > 0) {
    char* text = nullptr;
    file.check(H5Aread(attribute.id(), type.id(), static_cast<void*>(&text)), name);
    const std::unique_ptr<char, FreeHdf5> owner(text);
    return text == nullptr ? "" : text;
  }
  std::vector<char> buffer(H5Tget_size(type.id()));
  file.check(H5Aread(attribute.id(), type.id(), buffer.data()), name);
  return without_padding(buffer.data(), buffer.size());
}

std::int64_t read_integer_attribute(const H5File& file, hid_t object, const std::string& name) {
  const H5Handle attribute = open_attribute(file, object, name);
  const H5Handle type(H5Aget_type(attribute.id()), H5Tclose);
  expect_class(file, type.id(), H5T_INTEGER, fmt::format("attribute '{}'", name));
  const H5Handle space(H5Aget_space(attribute.id()), H5Sclose);
  if (H5Sget_simple_extent_npoints(space.id()) != 1) {
    throw InputError(fmt::format("{}: attribute '{}' must be one number", file.name(), name));
  }
  std::int64_t value = 0;
  file.check(H5Aread(attribute.id(), H5T_NATIVE_INT64, &value), name);
  return value;
}

bool has_link(const H5File& file, const std::string& path) {
  // H5Lexists fails if a parent is missing, so every prefix is asked for in turn.
  for (std::size_t end = path.find('/', 1); end != std::string::npos;
       end = path.find('/', end + 1)) {
    if (H5Lexists(file.id(), path.substr(0, end).c_str(), H5P_DEFAULT) <= 0) return false;
  }
  return path == "/" || H5Lexists(file.id(), path.c_str(), H5P_DEFAULT) > 0;
}

H5Handle open_dataset(const H5File& file, const std::string& path) {
  H5Handle dataset;
  if (has_link(file, path)) dataset = {H5Dopen2(file.id(), path.c_str(), H5P_DEFAULT), H5Dclose};
  if (dataset.id() < 0) {
    H5Eclear2(H5E_DEFAULT);
    throw InputError(fmt::format("{}: no dataset '{}'", file.name(), path));
  }
  return dataset;
}

H5Handle open_group(const H5File& file, const std::string& path) {
  H5Handle group;
  if (has_link(file, path)) group = {H5Gopen2(file.id(), path.c_str(), H5P_DEFAULT), H5Gclose};
  if (group.id() < 0) {
    H5Eclear2(H5E_DEFAULT);
    throw InputError(fmt::format("{}: no group '{}'", file.name(), path));
  }
  return group;
}

std::vector<std::string> names_in(const H5File& file, hid_t group) {
  std::vector<std::string> names;
  const auto collect = [](hid_t, const char* name, const H5L_info_t*, void* context) -> herr_t {
    static_cast<std::vector<std::string>*>(context)->emplace_back(name);
    return 0;
  };
  file.check(H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, nullptr, collect, &names), "group");
  return names;
}

std::vector<hsize_t> extents_of(const H5File& file, hid_t dataset) {
  const H5Handle space(H5Dget_space(dataset), H5Sclose);
  const int rank = file.check(H5Sget_simple_extent_ndims(space.id()), "dataspace");
  std::vector<hsize_t> extents(static_cast<std::size_t>(rank));
  file.check(H5Sget_simple_extent_dims(space.id(), extents.data(), nullptr), "dataspace");
  return extents;
}

template <typename T>
void write_dataset(const H5File& file, const std::string& path, std::span<const hsize_t> extents,
                   std::span<const T> values) {
  const H5Handle space = space_of(extents);
  const H5Handle links = intermediate_groups();
  const H5Handle dataset(H5Dcreate2(file.id(), path.c_str(), h5_type<T>(), space.id(), links.id(),
                                    H5P_DEFAULT, H5P_DEFAULT),
                         H5Dclose);
  file.check(dataset.id(), path);
  if (values.empty()) return;
  file.check(H5Dwrite(dataset.id(), h5_type<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
             path);
}

void write_text(const H5File& file, const std::string& path, const std::string& text) {
  const H5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.id(), text.size() + 1);
  H5Tset_cset(type.id(), H5T_CSET_UTF8);
  const H5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const H5Handle links = intermediate_groups();
  const H5Handle dataset(H5Dcreate2(file.id(), path.c_str(), type.id(), space.id(), links.id(),
                                    H5P_DEFAULT, H5P_DEFAULT),
                         H5Dclose);
  file.check(dataset.id(), path);
  file.check(H5Dwrite(dataset.id(), type.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, text.c_str()), path);
}

std::string read_text(const H5File& file, const std::string& path) {
  const std::vector<std::string> texts = read_strings(file, path);
  if (texts.size() != 1) {
    throw InputError(fmt::format("{}: '{}' must hold one text", file.name(), path));
  }
  return texts.front();
}

template <typename T>
std::vector<T> read_dataset(const H5File& file, const std::string& path) {
  const H5Handle dataset = open_dataset(file, path);
  const H5Handle type(H5Dget_type(dataset.id()), H5Tclose);
  const H5T_class_t kind = H5Tget_class(type.id());
  if (kind != H5T_INTEGER && kind != H5T_FLOAT && kind != H5T_ENUM) {
    throw InputError(fmt::format("{}: dataset '{}' must hold numbers", file.name(), path));
  }
  std::vector<T> values(count_of(extents_of(file, dataset.id())));
  if (values.empty()) return values;
  // An enumeration (a boolean of h5py) is read as the integers behind it.
  const H5Handle base(kind == H5T_ENUM ? H5Tget_super(type.id()) : H5Tcopy(h5_type<T>()), H5Tclose);
  if (kind == H5T_ENUM && H5Tget_size(base.id()) != sizeof(T)) {
    throw InputError(fmt::format("{}: dataset '{}' is an enumeration", file.name(), path));
  }
  const hid_t memory = kind == H5T_ENUM ? type.id() : base.id();
  file.check(H5Dread(dataset.id(), memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), path);
  return values;
}

std::vector<std::string> read_strings(const H5File& file, const std::string& path) {
  const H5Handle dataset = open_dataset(file, path);
  const H5Handle type(H5Dget_type(dataset.id()), H5Tclose);
  expect_class(file, type.id(), H5T_STRING, fmt::format("dataset '{}'", path));
  const H5Handle space(H5Dget_space(dataset.id()), H5Sclose);
  const hsize_t count = count_of(extents_of(file, dataset.id()));
  std::vector<std::string> texts(count);
  if (count == 0) return texts;
  if (H5Tis_variable_str(type.id()) > 0) {
    std::vector<char*> pointers(count, nullptr);
    file.check(H5Dread(dataset.id(), type.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT,
                       static_cast<void*>(pointers.data())),
               path);
    for (hsize_t i = 0; i < count; ++i) {
      if (pointers[i] != nullptr) texts[i] = pointers[i];
    }
    H5Dvlen_reclaim(type.id(), space.id(), H5P_DEFAULT, static_cast<void*>(pointers.data()));
    return texts;
  }
  const std::size_t size = H5Tget_size(type.id());
  std::vector<char> buffer(size * count);
  file.check(H5Dread(dataset.id(), type.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, buffer.data()), path);
  for (hsize_t i = 0; i < count; ++i) texts[i] = without_padding(buffer.data() + i * size, size);
  return texts;
}

template void write_dataset(const H5File&, const std::string&, std::span<const hsize_t>,
                            std::span<const double>);
template void write_dataset(const H5File&, const std::string&, std::span<const hsize_t>,
                            std::span<const float>);
template void write_dataset(const H5File&, const std::string&, std::span<const hsize_t>,
                            std::span<const std::int8_t>);
template void write_dataset(const H5File&, const std::string&, std::span<const hsize_t>,
                            std::span<const std::uint8_t>);
template void write_dataset(const H5File&, const std::string&, std::span<const hsize_t>,
                            std::span<const std::int32_t>);
template void write_dataset(const H5File&, const std::string&, std::span<const hsize_t>,
                            std::span<const std::int64_t>);
template std::vector<double> read_dataset(const H5File&, const std::string&);
template std::vector<float> read_dataset(const H5File&, const std::string&);
template std::vector<std::int8_t> read_dataset(const H5File&, const std::string&);
template std::vector<std::uint8_t> read_dataset(const H5File&, const std::string&);
template std::vector<std::uint16_t> read_dataset(const H5File&, const std::string&);
template std::vector<std::int32_t> read_dataset(const H5File&, const std::string&);
template std::vector<std::int64_t> read_dataset(const H5File&, const std::string&);
template std::vector<std::uint64_t> read_dataset(const H5File&, const std::string&);

}  // namespace pareto
