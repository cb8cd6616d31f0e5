// One thread of a block with the instructions of the sparse tile loops, for weights of type T; the
// host emulator (tests/emulator/) has a class of the same interface.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda_lane.cuh"

namespace pareto::cuda {

/// T is __nv_bfloat16 or __half. Offsets are bytes of shared memory.
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

 private:
  unsigned char* bytes_;
  std::uint32_t begin_;
};

}  // namespace pareto::cuda
