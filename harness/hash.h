// Content hashes: of cases, operands and files. Not cryptographic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace pareto {

/// XXH3, 64 bits; `seed` chains several parts into one hash.
std::uint64_t hash_bytes(std::span<const std::byte> bytes, std::uint64_t seed = 0);
std::uint64_t hash_text(std::string_view text, std::uint64_t seed = 0);
/// 16 lower-case hexadecimal digits.
std::string hex(std::uint64_t hash);

}  // namespace pareto
