// AMX tile registers behind one interface with two implementations: the instructions, and a twin in
// software that does what Intel's pseudo-code says, so that kernels can be checked where there is
// no AMX. Kernels are templates over the implementation.
//
// A tile holds up to 16 rows of up to 64 bytes. dot: C[M,N] += A[M,K]·B, with B stored as
// [K/per][N][per], per = 4 for int8 and 2 for bf16.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace pareto {

inline constexpr int kAmxTiles = 8;
inline constexpr int kAmxRows = 16;
inline constexpr int kAmxRowBytes = 64;

/// Rows and bytes per row of each tile register; 0 rows: not used.
struct AmxShape {
  int rows = 0;
  int row_bytes = 0;
};
using AmxShapes = std::array<AmxShape, kAmxTiles>;

/// The instructions. Needs AMX and the permission that isa_here() asks the kernel for. The state
/// belongs to the thread; `configure` zeroes all tiles, `release` gives them back.
class AmxNative {
 public:
  void configure(const AmxShapes& shapes) {
    struct alignas(64) Config {
      std::uint8_t palette = 1;
      std::uint8_t start_row = 0;
      std::uint8_t reserved[14] = {};
      std::uint16_t row_bytes[16] = {};
      std::uint8_t rows[16] = {};
    };
    Config config;
    for (int i = 0; i < kAmxTiles; ++i) {
      config.row_bytes[i] = static_cast<std::uint16_t>(shapes[i].row_bytes);
      config.rows[i] = static_cast<std::uint8_t>(shapes[i].rows);
    }
    // The whole structure is read: without "m" the compiler would drop its stores.
    asm volatile("ldtilecfg %0" ::"m"(config));
  }
  void release() { asm volatile("tilerelease"); }

  template <int kTile>
  void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
  }
  /// Rows `stride` bytes apart.
  template <int kTile>
  void load(const std::byte* data, std::int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(data), "r"(stride), "i"(kTile) : "memory");
  }
  /// The same for data that is used once.
  template <int kTile>
  void load_stream(const std::byte* data, std::int64_t stride) {
    asm volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" ::"r"(data), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  void store(std::byte* data, std::int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(data), "r"(stride), "i"(kTile) : "memory");
  }
  /// s8 · s8 into int32, wrapping.
  template <int kC, int kA, int kB>
  void dot_s8() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB));
  }
  /// bf16 · bf16 into fp32; subnormals count as 0.
  template <int kC, int kA, int kB>
  void dot_bf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB));
  }
};

/// The same in software, for tests.
class AmxSoftware {
 public:
  void configure(const AmxShapes& shapes) {
    shapes_ = shapes;
    tiles_ = {};
  }
  void release() { configure({}); }

  template <int kTile>
  void zero() {
    tiles_[kTile] = {};
  }
  template <int kTile>
  void load(const std::byte* data, std::int64_t stride) {
    tiles_[kTile] = {};
    for (int row = 0; row < shapes_[kTile].rows; ++row) {
      std::memcpy(tiles_[kTile][row].data(), data + row * stride,
                  static_cast<std::size_t>(shapes_[kTile].row_bytes));
    }
  }
  template <int kTile>
  void load_stream(const std::byte* data, std::int64_t stride) {
    load<kTile>(data, stride);
  }
  template <int kTile>
  void store(std::byte* data, std::int64_t stride) {
    for (int row = 0; row < shapes_[kTile].rows; ++row) {
      std::memcpy(data + row * stride, tiles_[kTile][row].data(),
                  static_cast<std::size_t>(shapes_[kTile].row_bytes));
    }
  }
  template <int kC, int kA, int kB>
  void dot_s8() {
    for_elements(kC, kA, [&](int m, int n, int depth) {
      auto sum = static_cast<std::uint32_t>(get<std::int32_t>(kC, m, n));
      for (int k = 0; k < depth; ++k) {
        for (int i = 0; i < 4; ++i) {
          const std::int32_t product = std::int32_t{get<std::int8_t>(kA, m, 4 * k + i)} *
                                       std::int32_t{get<std::int8_t>(kB, k, 4 * n + i)};
          sum += static_cast<std::uint32_t>(product);
        }
      }
      put(kC, m, n, static_cast<std::int32_t>(sum));
    });
  }
  // Even and odd elements have a chain each, from 0; then both are added, and the sum to C.
  template <int kC, int kA, int kB>
  void dot_bf16() {
    for_elements(kC, kA, [&](int m, int n, int depth) {
      float part[2] = {};
      for (int k = 0; k < depth; ++k) {
        for (int i = 0; i < 2; ++i) {
          part[i] = flushed(std::fma(bf16(kA, m, 2 * k + i), bf16(kB, k, 2 * n + i), part[i]));
        }
      }
      const float both = flushed(part[0] + part[1]);
      put(kC, m, n, flushed(flushed(get<float>(kC, m, n)) + both));
    });
  }

 private:
  using Row = std::array<std::byte, kAmxRowBytes>;
  using Tile = std::array<Row, kAmxRows>;

  template <typename T>
  [[nodiscard]] T get(int tile, int row, int i) const {
    T value;
    std::memcpy(&value, tiles_[tile][row].data() + i * sizeof(T), sizeof(T));
    return value;
  }
  template <typename T>
  void put(int tile, int row, int i, T value) {
    std::memcpy(tiles_[tile][row].data() + i * sizeof(T), &value, sizeof(T));
  }
  [[nodiscard]] float bf16(int tile, int row, int i) const {
    const std::uint32_t bits = std::uint32_t{get<std::uint16_t>(tile, row, i)} << 16U;
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return flushed(value);
  }
  static float flushed(float value) {
    return std::fabs(value) < 0x1p-126F ? std::copysign(0.0F, value) : value;
  }
  // body(m, n, dwords of K) for every element of C.
  template <typename Body>
  void for_elements(int c, int a, const Body& body) {
    for (int m = 0; m < shapes_[c].rows; ++m) {
      for (int n = 0; n < shapes_[c].row_bytes / 4; ++n) body(m, n, shapes_[a].row_bytes / 4);
    }
  }

  AmxShapes shapes_{};
  std::array<Tile, kAmxTiles> tiles_{};
};

}  // namespace pareto
