// One thread of a block with the instructions of stream_tile.cuh, for bf16 or fp16; the host
// emulator's tests have a class of the same interface.
#pragma once

#include <cstdint>

#include "kernels/cuda_lane.cuh"

namespace pareto::cuda {

template <bool kBf16>
class StreamLane : public DeviceLane {
 public:
  __device__ explicit StreamLane(void* shared) : DeviceLane(shared) {}

  // All loads are volatile: left alone, the compiler moves them down to where they are used.

  /// 16 bytes of global memory that this block reads once, and does not keep in L1; zeros unless
  /// `valid`.
  __device__ void load_once(std::uint32_t (&to)[4], const void* from, bool valid) const {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.u32 p, %5, 0;\n"
        "mov.u32 %0, 0;\nmov.u32 %1, 0;\nmov.u32 %2, 0;\nmov.u32 %3, 0;\n"
        "@p ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];\n}\n"
        : "=&r"(to[0]), "=&r"(to[1]), "=&r"(to[2]), "=&r"(to[3])
        : "l"(from), "r"(static_cast<std::uint32_t>(valid)));
  }
  /// The same of what the blocks of a multiprocessor share through L1.
  __device__ void load_shared_out(std::uint32_t (&to)[4], const void* from, bool valid) const {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.u32 p, %5, 0;\n"
        "mov.u32 %0, 0;\nmov.u32 %1, 0;\nmov.u32 %2, 0;\nmov.u32 %3, 0;\n"
        "@p ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];\n}\n"
        : "=&r"(to[0]), "=&r"(to[1]), "=&r"(to[2]), "=&r"(to[3])
        : "l"(from), "r"(static_cast<std::uint32_t>(valid)));
  }
  /// 8 bytes.
  __device__ void load_once(std::uint32_t (&to)[2], const void* from, bool valid) const {
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.u32 p, %3, 0;\nmov.u32 %0, 0;\nmov.u32 %1, 0;\n"
        "@p ld.global.nc.v2.u32 {%0, %1}, [%2];\n}\n"
        : "=&r"(to[0]), "=&r"(to[1])
        : "l"(from), "r"(static_cast<std::uint32_t>(valid)));
  }
  __device__ void multiply_pairs(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                 std::uint32_t b1) {
    if constexpr (kBf16) {
      multiply(sum, a, b0, b1);
    } else {
      multiply_fp16(sum, a, b0, b1);
    }
  }
  /// code − 8 of the low 4 bits of both halves. 128 + code in bf16, 1024 + code in fp16: exact, and
  /// so is the difference. lop3 by name: left to itself the compiler makes two instructions of it,
  /// with a constant in each.
  __device__ std::uint32_t decode_pairs(std::uint32_t word) const {
    constexpr std::uint32_t kBase = kBf16 ? 0x43004300 : 0x64006400;
    constexpr int kAndOr = 0xea;
    std::uint32_t pair = 0;
    asm("lop3.b32 %0, %1, %2, %3, %4;\n"
        : "=r"(pair)
        : "r"(word), "r"(0x000f000f), "r"(kBase), "n"(kAndOr));
    if constexpr (kBf16) {  // · 1 − 136: compute capability 8 has no subtraction
      asm("fma.rn.bf16x2 %0, %0, %1, %2;\n" : "+r"(pair) : "r"(0x3f803f80), "r"(0xc308c308));
    } else {
      asm("sub.rn.f16x2 %0, %0, %1;\n" : "+r"(pair) : "r"(0x64086408));
    }
    return pair;
  }
  __device__ float float_of_half(std::uint16_t bits) const {
    return __half2float(__ushort_as_half(bits));
  }
};

}  // namespace pareto::cuda
