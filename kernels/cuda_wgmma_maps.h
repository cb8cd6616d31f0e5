// Layouts of Hopper's warpgroup products: accumulators, operands in registers, swizzled shared
// memory as TMA writes it, and the 64-bit descriptors that point there. As PTX ISA 9.1 documents
// them ("Asynchronous warpgroup level matrix instructions", "Matrix descriptor", "Swizzling
// modes").
#pragma once

#include <cstdint>

#include "kernels/cuda_mma_maps.h"

namespace pareto::cuda {

inline constexpr int kWarpgroupThreads = 128;

/// D [64, N] of 32-bit elements: register r of thread `thread` of the warpgroup.
constexpr Element wgmma_d32(int thread, int r) {
  const int lane = thread % kWarpLanes;
  return {16 * (thread / kWarpLanes) + group_of(lane) + 8 * ((r >> 1) & 1),
          8 * (r >> 2) + 2 * member_of(lane) + (r & 1)};
}
/// A [64, 16] of 16-bit elements in registers.
constexpr Element wgmma_a16(int thread, int q, int h) {
  const Element e = mma_a16(thread % kWarpLanes, q, h);
  return {e.row + 16 * (thread / kWarpLanes), e.column};
}
/// A [64, 32] of 8-bit elements in registers.
constexpr Element wgmma_a8(int thread, int q, int b) {
  const Element e = mma_a8(thread % kWarpLanes, q, b);
  return {e.row + 16 * (thread / kWarpLanes), e.column};
}
/// D of one product, as A of the next: register q of k-block j packs D's registers first and
/// first + 1.
constexpr int chained_register(int j, int q) { return 8 * j + 2 * q; }

/// Swizzles, by the bytes of a row that they permute; values as a descriptor wants them (those of
/// CUtensorMap run the other way).
enum class Swizzle : std::uint8_t { kNone = 0, k128 = 1, k64 = 2, k32 = 3 };

constexpr int span_bytes(Swizzle swizzle) {
  switch (swizzle) {
    case Swizzle::k128:
      return 128;
    case Swizzle::k64:
      return 64;
    case Swizzle::k32:
      return 32;
    default:
      return 16;
  }
}

/// Where TMA puts, and wgmma looks for, the byte of linear address `address` in shared memory. The
/// absolute address counts: tiles start at multiples of 8 spans.
constexpr std::uint32_t swizzled(std::uint32_t address, Swizzle swizzle) {
  const auto mask = static_cast<std::uint32_t>(span_bytes(swizzle) / 16 - 1);
  return address ^ (((address >> 7U) & mask) << 4U);
}

/// A matrix descriptor of wgmma. Offsets in bytes.
struct MatrixDescriptor {
  std::uint32_t start = 0;
  std::uint32_t leading = 0;  ///< LBO
  std::uint32_t stride = 0;   ///< SBO
  Swizzle swizzle = Swizzle::kNone;
};

constexpr std::uint64_t descriptor_field(std::uint32_t bytes) { return (bytes & 0x3FFFFU) >> 4U; }

constexpr std::uint64_t encoded(const MatrixDescriptor& d) {
  return descriptor_field(d.start) | descriptor_field(d.leading) << 16U |
         descriptor_field(d.stride) << 32U |
         std::uint64_t{static_cast<std::uint8_t>(d.swizzle)} << 62U;
}

/// K-major operand: `rows` lines of one span each, as a TMA box writes them, at `start`. Without
/// swizzle the tile is panels of 16 bytes × rows, the next 16 bytes of k one panel further.
constexpr MatrixDescriptor k_major(std::uint32_t start, int rows, Swizzle swizzle) {
  if (swizzle == Swizzle::kNone) {
    return {start, static_cast<std::uint32_t>(16 * rows), 128, swizzle};
  }
  return {start, 0, static_cast<std::uint32_t>(8 * span_bytes(swizzle)), swizzle};
}

/// MN-major operand of 16-bit elements: panels of one span of M or N × `depth` lines of k.
constexpr MatrixDescriptor mn_major(std::uint32_t start, int depth, Swizzle swizzle) {
  if (swizzle == Swizzle::kNone) {
    return {start, 128, static_cast<std::uint32_t>(16 * depth), swizzle};
  }
  const int span = span_bytes(swizzle);
  return {start, static_cast<std::uint32_t>(depth * span), static_cast<std::uint32_t>(8 * span),
          swizzle};
}

/// Bytes to add to `start` for the next k of one instruction (32 bytes of k, K-major), inside one
/// span.
constexpr std::uint32_t k_major_step(int rows, Swizzle swizzle) {
  return swizzle == Swizzle::kNone ? 2U * 16U * static_cast<std::uint32_t>(rows) : 32U;
}

/// Address of byte `byte` (< 32) of row `row` of the operand that a K-major descriptor describes:
/// what the hardware computes.
constexpr std::uint32_t k_major_address(const MatrixDescriptor& d, int row, int byte) {
  const auto r = static_cast<std::uint32_t>(row);
  const auto b = static_cast<std::uint32_t>(byte);
  if (d.swizzle == Swizzle::kNone) {
    return d.start + b / 16 * d.leading + r / 8 * d.stride + r % 8 * 16 + b % 16;
  }
  const auto span = static_cast<std::uint32_t>(span_bytes(d.swizzle));
  return swizzled(d.start + r / 8 * d.stride + r % 8 * span + b, d.swizzle);
}

/// Address of element (k, mn) of 16 bits of the operand that an MN-major descriptor describes.
constexpr std::uint32_t mn_major_address(const MatrixDescriptor& d, int k, int mn) {
  const auto line = static_cast<std::uint32_t>(k);
  const auto byte = static_cast<std::uint32_t>(2 * mn);
  const auto span = static_cast<std::uint32_t>(span_bytes(d.swizzle));
  if (d.swizzle == Swizzle::kNone) {  // here the roles of the offsets are exchanged
    return d.start + line / 8 * d.leading + byte / 16 * d.stride + line % 8 * 16 + byte % 16;
  }
  return swizzled(
      d.start + byte / span * d.leading + line / 8 * d.stride + line % 8 * span + byte % span,
      d.swizzle);
}

}  // namespace pareto::cuda
