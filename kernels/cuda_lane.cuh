// One thread of a block with the instructions that tile loops are written in; the host emulator
// (tests/emulator/) has a class of the same interface.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>

namespace pareto::cuda {

/// What needs no shared memory.
class DeviceThread {
 public:
  /// Of its block.
  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  /// The value of the lane whose number differs in the bits of `distance`, a power of two below 32;
  /// by all lanes of the warp.
  __device__ float exchange(float value, int distance) {
    return __shfl_xor_sync(0xffffffffU, value, distance);
  }
  /// Two neighbouring 16-bit elements of global memory at a multiple of 4 bytes.
  __device__ std::uint32_t load_pair(const std::uint16_t* from) {
    return *reinterpret_cast<const std::uint32_t*>(from);
  }
  __device__ void store_pair(std::uint16_t* to, std::uint32_t pair) {
    *reinterpret_cast<std::uint32_t*>(to) = pair;
  }
  /// 2^x to 2 units in the last place; results below 2^-126 are 0.
  __device__ float exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }
  /// Rounded to nearest even, `low` in the low half.
  __device__ std::uint32_t pack_bf16(float low, float high) {
    return bits_of(__floats2bfloat162_rn(low, high));
  }
  __device__ std::uint32_t pack_fp16(float low, float high) {
    return bits_of(__floats2half2_rn(low, high));
  }

 private:
  template <typename Pair>
  __device__ static std::uint32_t bits_of(Pair pair) {
    std::uint32_t bits;
    memcpy(&bits, &pair, sizeof(bits));
    return bits;
  }
};

/// Shared memory begins at the address given; offsets are bytes from there.
class DeviceLane : public DeviceThread {
 public:
  __device__ explicit DeviceLane(void* shared)
      : generic_(static_cast<unsigned char*>(shared)),
        shared_(static_cast<std::uint32_t>(__cvta_generic_to_shared(shared))) {}

  /// 16 bytes into shared memory, `valid` 16-bit elements from `from`, zeros behind. Asynchronous
  /// where whole chunks are 16-byte aligned in global memory (`aligned`).
  __device__ void copy_chunk(std::uint32_t offset, const std::uint16_t* from, int valid,
                             bool aligned) {
    if (aligned) {
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_ + offset),
                   "l"(from), "r"(2 * valid));
      return;
    }
    auto* to = reinterpret_cast<std::uint16_t*>(generic_ + offset);
#pragma unroll
    for (int i = 0; i < 8; ++i) to[i] = i < valid ? from[i] : std::uint16_t{0};
  }
  __device__ void commit_copies() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
  /// Until at most `kPending` of this thread's committed groups are on their way.
  template <int kPending>
  __device__ void wait_copies() {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
  }
  __device__ void barrier() { __syncthreads(); }
  /// Of the warp alone: what its lanes wrote before is there for all of them.
  __device__ void warp_barrier() { __syncwarp(); }

  __device__ void store_shared(std::uint32_t offset, float value) {
    *reinterpret_cast<float*>(generic_ + offset) = value;
  }
  __device__ float load_shared(std::uint32_t offset) const {
    return *reinterpret_cast<const float*>(generic_ + offset);
  }

  /// ldmatrix.x4: this lane points at one row of 16 bytes.
  __device__ void load_matrices(std::uint32_t (&to)[4], std::uint32_t offset) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_ + offset)
                 : "memory");
  }
  /// The same, each 8 × 8 matrix transposed.
  __device__ void load_matrices_transposed(std::uint32_t (&to)[4], std::uint32_t offset) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_ + offset)
                 : "memory");
  }
  /// sum += a · b, m16n8k16, bf16 into fp32.
  __device__ void multiply(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                           std::uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
  /// The same in fp16.
  __device__ void multiply_fp16(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                std::uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }

 private:
  unsigned char* generic_;
  std::uint32_t shared_;
};

}  // namespace pareto::cuda
