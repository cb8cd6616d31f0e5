// wgmma.mma_async on 32 bytes of k of both operands in shared memory, K-major: sums [64, N] of a
// warpgroup += a · bᵀ. PTX ISA 9.1, "wgmma.mma_async".
//
// The accumulators are the operands %0 … %(N/2 − 1) of the instruction; the macros spell them.
#pragma once

#include <cstdint>
#include <type_traits>

namespace pareto::cuda {

/// Operands; 16-bit ones are summed in fp32, s8 in s32.
enum class WgmmaType : std::uint8_t { kBf16, kF16, kS8 };
template <WgmmaType kType>
using WgmmaSum = std::conditional_t<kType == WgmmaType::kS8, std::int32_t, float>;

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

#define PARETO_BOUND_4(c, d, i) c(d[i]), c(d[i + 1]), c(d[i + 2]), c(d[i + 3])
#define PARETO_BOUND_16(c, d, i) \
  PARETO_BOUND_4(c, d, i), PARETO_BOUND_4(c, d, i + 4), PARETO_BOUND_4(c, d, i + 8), \
      PARETO_BOUND_4(c, d, i + 12)
#define PARETO_BOUND_32(c, d, i) PARETO_BOUND_16(c, d, i), PARETO_BOUND_16(c, d, i + 16)
#define PARETO_BOUND_64(c, d, i) PARETO_BOUND_32(c, d, i), PARETO_BOUND_32(c, d, i + 32)
#define PARETO_BOUND_128(c, d, i) PARETO_BOUND_64(c, d, i), PARETO_BOUND_64(c, d, i + 64)

// The last two operand numbers are N/2 and N/2 + 1; the sums stay (scale-d is true). 16-bit
// operands may be negated and transposed: they are not.
#define PARETO_WGMMA(shape, types, constraint, sums, a_number, b_number, flags)           \
  asm volatile("{\n.reg .pred keep;\nsetp.eq.u32 keep, 0, 0;\n"                          \
               "wgmma.mma_async.sync.aligned." shape "." types " {"                       \
               PARETO_SUMS_##sums "}, %" #a_number ", %" #b_number ", keep" flags ";\n}\n" \
               : PARETO_BOUND_##sums(constraint, d, 0)                                    \
               : "l"(a), "l"(b))
#define PARETO_WGMMA_N(n, sums, a_number, b_number)                                          \
  if constexpr (kN == n && kType == WgmmaType::kBf16)                                        \
    PARETO_WGMMA("m64n" #n "k16", "f32.bf16.bf16", "+f", sums, a_number, b_number, ", 1, 1, 0, 0"); \
  if constexpr (kN == n && kType == WgmmaType::kF16)                                         \
    PARETO_WGMMA("m64n" #n "k16", "f32.f16.f16", "+f", sums, a_number, b_number, ", 1, 1, 0, 0"); \
  if constexpr (kN == n && kType == WgmmaType::kS8)                                          \
    PARETO_WGMMA("m64n" #n "k32", "s32.s8.s8", "+r", sums, a_number, b_number, "")
// clang-format on

/// d += a · bᵀ; a and b are descriptors (cuda_wgmma_maps.h) of 64 and N rows of 32 bytes.
template <int kN, WgmmaType kType>
__device__ __forceinline__ void wgmma_multiply(WgmmaSum<kType> (&d)[kN / 2], std::uint64_t a,
                                               std::uint64_t b) {
  static_assert(kN == 32 || kN == 64 || kN == 128 || kN == 256);
  PARETO_WGMMA_N(32, 16, 16, 17);
  PARETO_WGMMA_N(64, 32, 32, 33);
  PARETO_WGMMA_N(128, 64, 64, 65);
  PARETO_WGMMA_N(256, 128, 128, 129);
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
template <int kCount>
__device__ __forceinline__ void pin(std::int32_t (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(d[i])::"memory");
}

#undef PARETO_WGMMA
#undef PARETO_WGMMA_N
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
