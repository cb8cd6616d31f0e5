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
        begin_(static_cast<std::uint32_t>(__cvta_generic_to_shared(shared))) {}

  __device__ void warp_barrier() { __syncwarp(); }
  /// 16 aligned bytes into shared memory, asynchronous; the lines are not kept in L1.
  __device__ void copy_16_bytes(std::uint32_t offset, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(begin_ + offset), "l"(from)
                 : "memory");
  }
  __device__ std::uint32_t load_word(std::uint32_t offset) const {
    return *reinterpret_cast<const std::uint32_t*>(bytes_ + offset);
  }
  /// A word that may not be written yet, or being written: its bits are not used then.
  __device__ std::uint32_t peek_word(std::uint32_t offset) const {
    return load_word(offset);
  }
  /// Two words at a multiple of 8 bytes.
  __device__ void load_words(std::uint32_t offset, std::uint32_t& first,
                             std::uint32_t& second) const {
    const uint2 both = *reinterpret_cast<const uint2*>(bytes_ + offset);
    first = both.x;
    second = both.y;
  }
  __device__ void store_word(std::uint32_t offset, std::uint32_t value) {
    *reinterpret_cast<std::uint32_t*>(bytes_ + offset) = value;
  }
  /// Of the lane `distance` below; the own value where there is none.
  __device__ std::uint32_t shift_up(std::uint32_t value, int distance) {
    return __shfl_up_sync(0xffffffffU, value, static_cast<unsigned>(distance));
  }
  __device__ std::uint32_t of_last_lane(std::uint32_t value) {
    return __shfl_sync(0xffffffffU, value, kWarpLanes - 1);
  }
  __device__ std::uint32_t permute_bytes(std::uint32_t a, std::uint32_t b,
                                         std::uint32_t selectors) const {
    return __byte_perm(a, b, selectors);
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
