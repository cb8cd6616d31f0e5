// wgmma.mma_async m64nNk16 on 16-bit operands in shared memory, both K-major, into fp32: sums
// [64, N] of a warpgroup += a · bᵀ. PTX ISA 9.1, "wgmma.mma_async".
//
// The accumulators are the operands %0 … %(N/2 − 1) of the instruction; the macros spell them.
#pragma once

#include <cstdint>

namespace pareto::cuda {

// clang-format off
#define PARETO_SUMS_16 \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define PARETO_SUMS_32 PARETO_SUMS_16 \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define PARETO_SUMS_64 PARETO_SUMS_32 \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define PARETO_SUMS_128 PARETO_SUMS_64 \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79" \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95" \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

#define PARETO_BOUND_4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define PARETO_BOUND_16(d, i) \
  PARETO_BOUND_4(d, i), PARETO_BOUND_4(d, i + 4), PARETO_BOUND_4(d, i + 8), PARETO_BOUND_4(d, i + 12)
#define PARETO_BOUND_32(d, i) PARETO_BOUND_16(d, i), PARETO_BOUND_16(d, i + 16)
#define PARETO_BOUND_64(d, i) PARETO_BOUND_32(d, i), PARETO_BOUND_32(d, i + 32)
#define PARETO_BOUND_128(d, i) PARETO_BOUND_64(d, i), PARETO_BOUND_64(d, i + 64)

// The second and third operand numbers are N/2 and N/2 + 1; the sums stay (scale-d is true).
#define PARETO_WGMMA(n, type, sums, a_number, b_number)                                  \
  asm volatile("{\n.reg .pred keep;\nsetp.eq.u32 keep, 0, 0;\n"                          \
               "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {"       \
               PARETO_SUMS_##sums "}, %" #a_number ", %" #b_number ", keep, 1, 1, 0, 0;\n}\n" \
               : PARETO_BOUND_##sums(d, 0)                                                \
               : "l"(a), "l"(b))
// clang-format on

/// d += a · bᵀ; a and b are descriptors (cuda_wgmma_maps.h) of 64 and N rows of 32 bytes.
template <int kN, bool kBf16>
__device__ __forceinline__ void wgmma_multiply(float (&d)[kN / 2], std::uint64_t a,
                                               std::uint64_t b) {
  static_assert(kN == 32 || kN == 64 || kN == 128 || kN == 256);
  if constexpr (kN == 32 && kBf16) PARETO_WGMMA(32, "bf16", 16, 16, 17);
  if constexpr (kN == 32 && !kBf16) PARETO_WGMMA(32, "f16", 16, 16, 17);
  if constexpr (kN == 64 && kBf16) PARETO_WGMMA(64, "bf16", 32, 32, 33);
  if constexpr (kN == 64 && !kBf16) PARETO_WGMMA(64, "f16", 32, 32, 33);
  if constexpr (kN == 128 && kBf16) PARETO_WGMMA(128, "bf16", 64, 64, 65);
  if constexpr (kN == 128 && !kBf16) PARETO_WGMMA(128, "f16", 64, 64, 65);
  if constexpr (kN == 256 && kBf16) PARETO_WGMMA(256, "bf16", 128, 128, 129);
  if constexpr (kN == 256 && !kBf16) PARETO_WGMMA(256, "f16", 128, 128, 129);
}

/// Before the first product after threads touched the accumulators.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}
/// Until at most `kPending` of the groups committed run.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kPending) : "memory");
}
/// Keeps the compiler from moving accumulators across this place.
template <int kCount>
__device__ __forceinline__ void pin(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

#undef PARETO_WGMMA
#undef PARETO_SUMS_16
#undef PARETO_SUMS_32
#undef PARETO_SUMS_64
#undef PARETO_SUMS_128
#undef PARETO_BOUND_4
#undef PARETO_BOUND_16
#undef PARETO_BOUND_32
#undef PARETO_BOUND_64
#undef PARETO_BOUND_128

}  // namespace pareto::cuda
