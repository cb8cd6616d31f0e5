#include "harness/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <vector>

#include "harness/durable_file.h"
#include "harness/errors.h"
#include "harness/json_text.h"
#include "harness/machine.h"

namespace pareto {
namespace {

using nlohmann::json;

// The format's own limit: a header beyond it is an attack or no header at all.
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::size_t kLengthBytes = 8;

struct Entry {
  std::string name;
  std::string dtype;
  Shape shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
  throw InputError(fmt::format("{}: not a valid safetensors file: {}", path, what));
}

std::size_t element_bytes(const std::string& dtype) {
  static const std::map<std::string, std::size_t> kBytes = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
      {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
      {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8}};
  const auto found = kBytes.find(dtype);
  return found == kBytes.end() ? 0 : found->second;
}

// Bytes that a tensor of this shape takes; nullopt if that overflows.
std::optional<std::uint64_t> bytes_of(const std::vector<std::int64_t>& extents, std::size_t bytes) {
  std::uint64_t total = bytes;
  for (const std::int64_t extent : extents) {
    if (extent < 0 || __builtin_mul_overflow(total, static_cast<std::uint64_t>(extent), &total)) {
      return std::nullopt;
    }
  }
  return total;
}

Entry parse_entry(const std::string& path, const std::string& name, const json& value) {
  Entry entry;
  entry.name = name;
  std::vector<std::int64_t> extents;
  try {
    entry.dtype = value.at("dtype").get<std::string>();
    for (const json& extent : value.at("shape")) extents.push_back(extent.get<std::int64_t>());
    entry.begin = value.at("data_offsets").at(0).get<std::uint64_t>();
    entry.end = value.at("data_offsets").at(1).get<std::uint64_t>();
    if (extents.empty()) extents.push_back(1);
    entry.shape = Shape(std::span<const std::int64_t>(extents));
  } catch (const json::exception& error) {
    refuse(path, fmt::format("tensor '{}': {}", name, error.what()));
  } catch (const Error& error) {
    refuse(path, fmt::format("tensor '{}': {}", name, error.what()));
  }
  const std::size_t element = element_bytes(entry.dtype);
  if (element == 0) {
    throw InputError(
        fmt::format("{}: tensor '{}' has the unknown dtype {}", path, name, entry.dtype));
  }
  const std::optional<std::uint64_t> wanted = bytes_of(extents, element);
  if (entry.begin > entry.end || wanted != entry.end - entry.begin) {
    refuse(path, fmt::format("tensor '{}': offsets {}–{} do not hold {} {}", name, entry.begin,
                             entry.end, entry.shape.text(), entry.dtype));
  }
  return entry;
}

// In the order of their data, which must be without holes, overlaps and left-overs.
std::vector<Entry> parse_header(const std::string& path, std::span<const char> bytes,
                                std::size_t& data_begin) {
  if (bytes.size() < kLengthBytes) refuse(path, "shorter than 8 bytes");
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxHeaderBytes || length > bytes.size() - kLengthBytes) {
    refuse(path, fmt::format("header of {} bytes in a file of {}", length, bytes.size()));
  }
  data_begin = kLengthBytes + length;
  const json header =
      json::parse(bytes.begin() + kLengthBytes,
                  bytes.begin() + static_cast<std::ptrdiff_t>(data_begin), nullptr, false);
  if (!header.is_object()) refuse(path, "the header is not a JSON object");
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name != "__metadata__") entries.push_back(parse_entry(path, name, value));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t position = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != position) {
      refuse(path, fmt::format("tensor '{}' begins at {}, expected {}", entry.name, entry.begin,
                               position));
    }
    position = entry.end;
  }
  if (position != bytes.size() - data_begin) {
    refuse(path,
           fmt::format("{} bytes of data, {} described", bytes.size() - data_begin, position));
  }
  return entries;
}

// Every fp16 value by its bits.
std::vector<float> decode_halves() {
  constexpr std::int64_t kCodes = 1 << 16;
  const HostTensor codes(DType::kF16, {kCodes});
  std::vector<float> values(kCodes);
  for (std::int64_t i = 0; i < kCodes; ++i) {
    codes.span<std::uint16_t>()[static_cast<std::size_t>(i)] = static_cast<std::uint16_t>(i);
    values[static_cast<std::size_t>(i)] = static_cast<float>(codes.value(i));
  }
  return values;
}

float half_to_float(std::uint16_t half) {
  static const std::vector<float> kValues = decode_halves();
  return kValues[half];
}

// `to[i] = convert(from[i])` for unaligned elements of type From.
template <typename From, typename To, typename Convert>
HostTensor convert(const char* from, const Entry& entry, DType dtype, Convert convert_one) {
  HostTensor tensor(dtype, entry.shape);
  const std::span<To> to = tensor.span<To>();
  for (std::size_t i = 0; i < to.size(); ++i) {
    From value;
    std::memcpy(&value, from + i * sizeof(From), sizeof(From));
    to[i] = convert_one(value);
  }
  return tensor;
}

template <typename From>
HostTensor narrow(const std::string& path, const char* from, const Entry& entry) {
  return convert<From, std::int32_t>(from, entry, DType::kS32, [&](From value) {
    if (!std::in_range<std::int32_t>(value)) {
      throw InputError(fmt::format("{}: tensor '{}' holds {}, which does not fit int32", path,
                                   entry.name, value));
    }
    return static_cast<std::int32_t>(value);
  });
}

HostTensor load(const std::string& path, const char* from, const Entry& entry) {
  const std::string& dtype = entry.dtype;
  const auto same = [](auto value) { return value; };
  if (dtype == "F32") return convert<float, float>(from, entry, DType::kF32, same);
  if (dtype == "F64") {
    return convert<double, float>(from, entry, DType::kF32,
                                  [](double value) { return static_cast<float>(value); });
  }
  if (dtype == "F16") return convert<std::uint16_t, float>(from, entry, DType::kF32, half_to_float);
  if (dtype == "BF16") {
    return convert<std::uint16_t, float>(from, entry, DType::kF32, [](std::uint16_t half) {
      return std::bit_cast<float>(static_cast<std::uint32_t>(half) << 16);
    });
  }
  if (dtype == "I8") return convert<std::int8_t, std::int8_t>(from, entry, DType::kS8, same);
  if (dtype == "U8" || dtype == "BOOL") {
    return convert<std::uint8_t, std::uint8_t>(from, entry, DType::kU8, same);
  }
  if (dtype == "I32") return convert<std::int32_t, std::int32_t>(from, entry, DType::kS32, same);
  if (dtype == "I16") return narrow<std::int16_t>(path, from, entry);
  if (dtype == "U16") return narrow<std::uint16_t>(path, from, entry);
  if (dtype == "U32") return narrow<std::uint32_t>(path, from, entry);
  if (dtype == "I64") return narrow<std::int64_t>(path, from, entry);
  if (dtype == "U64") return narrow<std::uint64_t>(path, from, entry);
  throw InputError(
      fmt::format("{}: tensor '{}' has dtype {}, which is not read", path, entry.name, dtype));
}

std::string safetensors_name(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return "F64";
    case DType::kS8:
      return "I8";
    case DType::kU8:
      return "U8";
    case DType::kS32:
      return "I32";
    case DType::kS64:
      return "I64";
    default:
      return "F32";
  }
}

void append_data(std::string& data, const HostTensor& tensor) {
  if (safetensors_name(tensor.dtype()) != "F32") {
    data.append(reinterpret_cast<const char*>(tensor.view().data), tensor.view().bytes());
    return;
  }
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    const auto value = static_cast<float>(tensor.value(i));
    data.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
}

}  // namespace

TensorMap read_safetensors(const std::string& path) {
  std::error_code unknown;
  const auto bytes_on_disk = static_cast<double>(std::filesystem::file_size(path, unknown));
  if (!unknown) require_memory(path, 2 * bytes_on_disk);  // the file and its tensors
  const std::vector<std::byte> raw = read_whole_file(path);
  const std::span<const char> bytes(reinterpret_cast<const char*>(raw.data()), raw.size());
  std::size_t data_begin = 0;
  TensorMap tensors;
  for (const Entry& entry : parse_header(path, bytes, data_begin)) {
    tensors[entry.name] = load(path, bytes.data() + data_begin + entry.begin, entry);
  }
  return tensors;
}

void write_safetensors(const std::string& path, const TensorMap& tensors) {
  json header = json::object();
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const std::size_t begin = data.size();
    append_data(data, tensor);
    std::vector<std::int64_t> extents;
    for (int axis = 0; axis < tensor.shape().rank(); ++axis)
      extents.push_back(tensor.shape()[axis]);
    header[name] = {{"dtype", safetensors_name(tensor.dtype())},
                    {"shape", extents},
                    {"data_offsets", {begin, data.size()}}};
  }
  std::string text = json_text(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // keeps the data aligned to 8 bytes
  const std::uint64_t length = text.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof(length));
  bytes += text;
  bytes += data;
  PendingFile pending(path, std::as_bytes(std::span<const char>(bytes)));
  pending.publish_or_fail();
}

}  // namespace pareto
