// Products of a warpgroup as attention needs them: the first operand in shared memory or in
// registers. PTX ISA 9.1, "wgmma.mma_async". Descriptors are those of kernels/cuda_wgmma_maps.h.
#pragma once

#include <cstdint>

namespace pareto::cuda::hopper {

/// Before the first product after threads touched accumulators or operands in registers.
__device__ __forceinline__ void fence_products() {
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}
/// Products since the last commit are a group.
__device__ __forceinline__ void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}
/// Until at most `kRunning` groups of this warpgroup run.
template <int kRunning>
__device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kRunning) : "memory");
}
/// Keeps the compiler from moving accesses of these registers across this place.
template <int kBlocks>
__device__ __forceinline__ void pin(float (&sums)[kBlocks][4]) {
#pragma unroll
  for (int n = 0; n < kBlocks; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(sums[n][i])::"memory");
  }
}

// clang-format off
#define PARETO_FLASH_BLOCK(d, n) "+f"((d)[n][0]), "+f"((d)[n][1]), "+f"((d)[n][2]), "+f"((d)[n][3])
#define PARETO_FLASH_BLOCKS_4(d, n)                                                     \
  PARETO_FLASH_BLOCK(d, n), PARETO_FLASH_BLOCK(d, n + 1), PARETO_FLASH_BLOCK(d, n + 2), \
  PARETO_FLASH_BLOCK(d, n + 3)
#define PARETO_FLASH_BLOCKS_8(d) PARETO_FLASH_BLOCKS_4(d, 0), PARETO_FLASH_BLOCKS_4(d, 4)
#define PARETO_FLASH_BLOCKS_16(d) \
  PARETO_FLASH_BLOCKS_8(d), PARETO_FLASH_BLOCKS_4(d, 8), PARETO_FLASH_BLOCKS_4(d, 12)
#define PARETO_FLASH_SUMS_8 \
  "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "         \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define PARETO_FLASH_SUMS_16 PARETO_FLASH_SUMS_8 \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

// Sums [64, 8 · blocks] (+)= a · bᵀ, both K-major in shared memory.
#define PARETO_FLASH_SHARED(blocks, n, type, a_number, b_number, adds_number)               \
  asm volatile("{\n.reg .pred adds;\nsetp.ne.b32 adds, %" #adds_number ", 0;\n"             \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " "          \
               PARETO_FLASH_SUMS_##blocks "}, %" #a_number ", %" #b_number                  \
               ", adds, 1, 1, 0, 0;\n}\n"                                                   \
               : PARETO_FLASH_BLOCKS_##blocks(sums)                                         \
               : "l"(a), "l"(b), "n"(kAdds ? 1 : 0))
// Sums [64, 8 · blocks] += a · b, a in registers, b [k, n] in shared memory as stored.
#define PARETO_FLASH_REGISTERS(blocks, n, type, a0, a1, a2, a3, b_number)                    \
  asm volatile("{\n.reg .pred adds;\nsetp.eq.u32 adds, 0, 0;\n"                             \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " "          \
               PARETO_FLASH_SUMS_##blocks "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %"  \
               #b_number ", adds, 1, 1, 1;\n}\n"                                            \
               : PARETO_FLASH_BLOCKS_##blocks(sums)                                         \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
// clang-format on

/// sums [64, 128] = a · bᵀ, or += if kAdds: 16 of k.
template <bool kBf16, bool kAdds>
__device__ __forceinline__ void multiply_shared(float (&sums)[16][4], std::uint64_t a,
                                                std::uint64_t b) {
  if constexpr (kBf16) {
    PARETO_FLASH_SHARED(16, 128, "bf16", 64, 65, 66);
  } else {
    PARETO_FLASH_SHARED(16, 128, "f16", 64, 65, 66);
  }
}
/// sums [64, 8 · kBlocks] += a · b: 16 of k; b as mn_major describes it.
template <bool kBf16>
__device__ __forceinline__ void multiply_registers(float (&sums)[16][4],
                                                   const std::uint32_t (&a)[4], std::uint64_t b) {
  if constexpr (kBf16) {
    PARETO_FLASH_REGISTERS(16, 128, "bf16", 64, 65, 66, 67, 68);
  } else {
    PARETO_FLASH_REGISTERS(16, 128, "f16", 64, 65, 66, 67, 68);
  }
}
template <bool kBf16>
__device__ __forceinline__ void multiply_registers(float (&sums)[8][4], const std::uint32_t (&a)[4],
                                                   std::uint64_t b) {
  if constexpr (kBf16) {
    PARETO_FLASH_REGISTERS(8, 64, "bf16", 32, 33, 34, 35, 36);
  } else {
    PARETO_FLASH_REGISTERS(8, 64, "f16", 32, 33, 34, 35, 36);
  }
}

#undef PARETO_FLASH_REGISTERS
#undef PARETO_FLASH_SHARED
#undef PARETO_FLASH_SUMS_16
#undef PARETO_FLASH_SUMS_8
#undef PARETO_FLASH_BLOCKS_16
#undef PARETO_FLASH_BLOCKS_8
#undef PARETO_FLASH_BLOCKS_4
#undef PARETO_FLASH_BLOCK

}  // namespace pareto::cuda::hopper
