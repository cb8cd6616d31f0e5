// One thread of a block with the instructions of the sparse tile loops, for weights of type T; the
// host emulator (tests/emulator/) has a class of the same interface.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda_lane.cuh"
#include "kernels/cuda_mma_maps.h"

namespace pareto::cuda {

/// T is float, __nv_bfloat16 or __half; products take the latter two. Offsets are bytes of shared
/// memory.
template <typename T>
class SparseLane : public DeviceLane {
 public:
  __device__ explicit SparseLane(void* shared)
      : DeviceLane(shared),
        bytes_(static_cast<unsigned char*>(shared)),
        begin_(static_cast<std::uint32_t>(__cvta_generic_to_shared(shared))) {
    asm volatile("" : "+r"(begin_));  // kept in a register
  }

  __device__ void warp_barrier() { __syncwarp(); }
  /// Starts the copies of this lane's chunks of 16 bytes, of `chunks` consecutive ones that the
  /// warp shares out, at most kMost; they are not kept in L1.
  template <int kMost>
  __device__ void copy_chunks(std::uint32_t offset, const void* from, int chunks) {
    const int lane = thread() % kWarpLanes;
    std::uint32_t to = begin_ + offset + 16 * static_cast<std::uint32_t>(lane);
    auto source = reinterpret_cast<std::uint64_t>(from) + 16 * static_cast<std::uint64_t>(lane);
    // Both in registers, or ptxas computes them anew for every copy.
    asm volatile("" : "+r"(to), "+l"(source));
#pragma unroll
    for (int first = 0; first < kMost; first += kWarpLanes) {
      if (first + lane < chunks) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(to + 16 * first),
                     "l"(source + 16 * first)
                     : "memory");
      }
    }
  }
  __device__ std::uint32_t load_word(std::uint32_t offset) const {
    return *reinterpret_cast<const std::uint32_t*>(bytes_ + offset);
  }
  /// A word that may not be written yet, or being written: its bits are not used then.
  __device__ std::uint32_t peek_word(std::uint32_t offset) const { return load_word(offset); }
  /// At a multiple of 16.
  __device__ void load_four_words(std::uint32_t offset, std::uint32_t (&to)[4]) const {
    const uint4 all = *reinterpret_cast<const uint4*>(bytes_ + offset);
    to[0] = all.x;
    to[1] = all.y;
    to[2] = all.z;
    to[3] = all.w;
  }
  /// Two floats at a multiple of 8.
  __device__ void load_two(std::uint32_t offset, float (&to)[2]) const {
    const float2 both = *reinterpret_cast<const float2*>(bytes_ + offset);
    to[0] = both.x;
    to[1] = both.y;
  }
  /// Two entries of CsrChunk at a multiple of 16.
  __device__ void load_two_entries(std::uint32_t offset, std::uint32_t (&column)[2],
                                   float (&value)[2]) const {
    std::uint32_t words[4];
    load_four_words(offset, words);
    column[0] = words[0];
    value[0] = __uint_as_float(words[1]);
    column[1] = words[2];
    value[1] = __uint_as_float(words[3]);
  }
  /// Four neighbouring elements of global memory, aligned to all of them.
  __device__ void load_four(const T* from, float (&to)[4]) const {
    if constexpr (sizeof(T) == 4) {
      const float4 all = *reinterpret_cast<const float4*>(from);
      to[0] = all.x;
      to[1] = all.y;
      to[2] = all.z;
      to[3] = all.w;
    } else {
      struct alignas(8) Four {
        T element[4];
      };
      const Four all = *reinterpret_cast<const Four*>(from);
#pragma unroll
      for (int i = 0; i < 4; ++i) to[i] = static_cast<float>(all.element[i]);
    }
  }
  /// Global memory that this block reads once: it is not kept in L1.
  __device__ void load_once(const std::uint32_t* from, std::uint32_t (&to)[4]) const {
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];\n"
        : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
        : "l"(from));
  }
  __device__ std::uint32_t load_once(const std::uint32_t* from) const {
    std::uint32_t word = 0;
    asm("ld.global.nc.L1::no_allocate.u32 %0, [%1];\n" : "=r"(word) : "l"(from));
    return word;
  }
  __device__ void store_word(std::uint32_t offset, std::uint32_t value) {
    *reinterpret_cast<std::uint32_t*>(bytes_ + offset) = value;
  }
  /// Plus the value of the lane `distance` below, if there is one.
  __device__ std::uint32_t add_below(std::uint32_t value, int distance) {
    std::uint32_t sum = value;
    asm volatile(
        "{\n.reg .pred p;\n.reg .b32 t;\n"
        "shfl.sync.up.b32 t|p, %0, %1, 0, 0xffffffff;\n@p add.u32 %0, %0, t;\n}\n"
        : "+r"(sum)
        : "r"(distance));
    return sum;
  }
  __device__ std::uint32_t of_last_lane(std::uint32_t value) {
    return __shfl_sync(0xffffffffU, value, kWarpLanes - 1);
  }
  /// The value of the lane whose number differs in the lowest bit.
  __device__ std::uint32_t exchange_with_neighbour(std::uint32_t value) {
    return __shfl_xor_sync(0xffffffffU, value, 1);
  }
  /// prmt: a selector with its fourth bit set spreads the sign of the byte over all its bits.
  __device__ std::uint32_t permute_bytes(std::uint32_t a, std::uint32_t b,
                                         std::uint32_t selectors) const {
    std::uint32_t bytes = 0;
    asm("prmt.b32 %0, %1, %2, %3;\n" : "=r"(bytes) : "r"(a), "r"(b), "r"(selectors));
    return bytes;
  }
  /// sum + the four products of unsigned bytes.
  __device__ std::uint32_t add_byte_products(std::uint32_t a, std::uint32_t b,
                                             std::uint32_t sum) const {
    return __dp4a(a, b, sum);
  }
  /// sum += a · b, m16n8k16 into fp32.
  __device__ void multiply(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                           std::uint32_t b1) {
    if constexpr (std::is_same_v<T, __nv_bfloat16>) {
      DeviceLane::multiply(sum, a, b0, b1);
    } else {
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
          "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
          : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
  }
  /// sum += a · b, m16n8k32 into fp32, a with two of every four columns: kSelector says which
  /// lanes' metadata counts (cuda_mma_maps.h).
  template <int kSelector>
  __device__ void multiply_sparse(float (&sum)[4], const std::uint32_t (&a)[4],
                                  const std::uint32_t (&b)[4], std::uint32_t meta) {
    if constexpr (std::is_same_v<T, __nv_bfloat16>) {
      asm volatile(
          "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32 "
          "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, %13;\n"
          : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]),
            "r"(meta), "n"(kSelector));
    } else {
      asm volatile(
          "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 "
          "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, %13;\n"
          : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]),
            "r"(meta), "n"(kSelector));
    }
  }

 private:
  unsigned char* bytes_;
  std::uint32_t begin_;
};

}  // namespace pareto::cuda
