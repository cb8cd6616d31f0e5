#include "harness/ceiling_probes.h"

#include <array>

namespace pareto {
namespace {

// 14 accumulators (an FMA takes 4 to 5 cycles, VDPBF16PS 6 on Zen 5, two start per cycle: 8 to 12
// are needed), the operands in registers 14 and 15, four rounds an iteration so that the loop's own
// two instructions disappear. The assembler knows every instruction whatever the compiler's target;
// registers beyond 15 are left alone, and vzeroupper leaves nothing of the wide ones.
constexpr int kAccumulators = 14;
constexpr int kRounds = 4;
constexpr double kInstructions = kAccumulators * kRounds;

enum Instruction { kFmaZmm, kFmaYmm, kDotInt8Zmm, kDotInt8Ymm, kDotBf16Zmm };

// One block for all; the assembler picks the instruction. %{vex%} asks for the encoding of
// AVX-VNNI, which needs no AVX-512.
template <Instruction kInstruction>
void accumulate(std::int64_t iterations, const std::byte* operands) {
  asm volatile(
      ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13\n"
      "vxorps %%xmm\\r, %%xmm\\r, %%xmm\\r\n"
      ".endr\n"
      ".if %c[is_zmm]\n"
      "vmovups (%[operands]), %%zmm14\n"
      "vmovups 64(%[operands]), %%zmm15\n"
      ".else\n"
      "vmovups (%[operands]), %%ymm14\n"
      "vmovups 64(%[operands]), %%ymm15\n"
      ".endif\n"
      ".balign 32\n"
      "1:\n"
      ".rept 4\n"
      ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13\n"
      ".if %c[instruction] == %c[fma_zmm]\n"
      "vfmadd231ps %%zmm14, %%zmm15, %%zmm\\r\n"
      ".elseif %c[instruction] == %c[fma_ymm]\n"
      "vfmadd231ps %%ymm14, %%ymm15, %%ymm\\r\n"
      ".elseif %c[instruction] == %c[int8_zmm]\n"
      "vpdpbusd %%zmm14, %%zmm15, %%zmm\\r\n"
      ".elseif %c[instruction] == %c[int8_ymm]\n"
      "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm\\r\n"
      ".else\n"
      "vdpbf16ps %%zmm14, %%zmm15, %%zmm\\r\n"
      ".endif\n"
      ".endr\n"
      ".endr\n"
      "dec %[iterations]\n"
      "jnz 1b\n"
      "vzeroupper\n"
      : [iterations] "+r"(iterations)
      : [operands] "r"(operands), [instruction] "i"(kInstruction),
        [is_zmm] "i"(kInstruction != kFmaYmm && kInstruction != kDotInt8Ymm ? 1 : 0),
        [fma_zmm] "i"(kFmaZmm), [fma_ymm] "i"(kFmaYmm), [int8_zmm] "i"(kDotInt8Zmm),
        [int8_ymm] "i"(kDotInt8Ymm)
      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory");
}

// Eight chains of multiplications and six of additions, four lanes each: without FMA a product and
// its sum are two instructions, which most cores start side by side.
void fp32_xmm(std::int64_t iterations, const std::byte* operands) {
  asm volatile(
      "movups (%[operands]), %%xmm15\n"
      ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13\n"
      "movaps %%xmm15, %%xmm\\r\n"
      ".endr\n"
      ".balign 32\n"
      "1:\n"
      ".rept 4\n"
      ".irp r, 0,1,2,3,4,5,6,7\n"
      "mulps %%xmm15, %%xmm\\r\n"
      ".endr\n"
      ".irp r, 8,9,10,11,12,13\n"
      "addps %%xmm15, %%xmm\\r\n"
      ".endr\n"
      ".endr\n"
      "dec %[iterations]\n"
      "jnz 1b\n"
      : [iterations] "+r"(iterations)
      : [operands] "r"(operands)
      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory");
}

// u8·s8 pairs to s16, pairs of those to s32, added up: sums in 0…5, products in 6…11.
constexpr int kMaddChains = 6;
void madd_int8_ymm(std::int64_t iterations, const std::byte* operands) {
  asm volatile(
      "vmovups (%[operands]), %%ymm13\n"
      "vmovups 64(%[operands]), %%ymm14\n"
      "vpcmpeqw %%ymm15, %%ymm15, %%ymm15\n"
      "vpabsw %%ymm15, %%ymm15\n"
      ".irp r, 0,1,2,3,4,5\n"
      "vpxor %%xmm\\r, %%xmm\\r, %%xmm\\r\n"
      ".endr\n"
      ".balign 32\n"
      "1:\n"
      ".rept 4\n"
      ".irp t, 6,7,8,9,10,11\n"
      "vpmaddubsw %%ymm13, %%ymm14, %%ymm\\t\n"
      "vpmaddwd %%ymm\\t, %%ymm15, %%ymm\\t\n"
      ".endr\n"
      "vpaddd %%ymm6, %%ymm0, %%ymm0\n"
      "vpaddd %%ymm7, %%ymm1, %%ymm1\n"
      "vpaddd %%ymm8, %%ymm2, %%ymm2\n"
      "vpaddd %%ymm9, %%ymm3, %%ymm3\n"
      "vpaddd %%ymm10, %%ymm4, %%ymm4\n"
      "vpaddd %%ymm11, %%ymm5, %%ymm5\n"
      ".endr\n"
      "dec %[iterations]\n"
      "jnz 1b\n"
      "vzeroupper\n"
      : [iterations] "+r"(iterations)
      : [operands] "r"(operands)
      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory");
}

// u8·s8 pairs to s16, added up as such: sums in 0…6, products in 7…13.
constexpr int kNibbleChains = 7;
void madd_int4_ymm(std::int64_t iterations, const std::byte* operands) {
  asm volatile(
      "vmovups (%[operands]), %%ymm14\n"
      "vmovups 64(%[operands]), %%ymm15\n"
      ".irp r, 0,1,2,3,4,5,6\n"
      "vpxor %%xmm\\r, %%xmm\\r, %%xmm\\r\n"
      ".endr\n"
      ".balign 32\n"
      "1:\n"
      ".rept 4\n"
      ".irp t, 7,8,9,10,11,12,13\n"
      "vpmaddubsw %%ymm14, %%ymm15, %%ymm\\t\n"
      ".endr\n"
      "vpaddw %%ymm7, %%ymm0, %%ymm0\n"
      "vpaddw %%ymm8, %%ymm1, %%ymm1\n"
      "vpaddw %%ymm9, %%ymm2, %%ymm2\n"
      "vpaddw %%ymm10, %%ymm3, %%ymm3\n"
      "vpaddw %%ymm11, %%ymm4, %%ymm4\n"
      "vpaddw %%ymm12, %%ymm5, %%ymm5\n"
      "vpaddw %%ymm13, %%ymm6, %%ymm6\n"
      ".endr\n"
      "dec %[iterations]\n"
      "jnz 1b\n"
      "vzeroupper\n"
      : [iterations] "+r"(iterations)
      : [operands] "r"(operands)
      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory");
}

// Tile registers: 0…3 accumulate the 2×2 products of A in 4, 5 and B in 6, 7; all 16 rows × 64 B.
// With loads, the loop walks through 8 KiB of operands (in L1), four tiles at a time.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::array<std::uint8_t, 14> reserved{};
  std::array<std::uint16_t, 16> row_bytes{64, 64, 64, 64, 64, 64, 64, 64};
  std::array<std::uint8_t, 16> rows{16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr double kTileProducts = 8;
constexpr double kInt8PerTileProduct = 2.0 * 16 * 16 * 64;
constexpr double kBf16PerTileProduct = 2.0 * 16 * 16 * 32;

template <bool kBf16, bool kLoads>
void amx(std::int64_t iterations, const std::byte* operands) {
  const TileConfig config;
  constexpr std::int64_t kRowBytes = 64;
  asm volatile(
      "ldtilecfg %[config]\n"
      ".irp r, 0,1,2,3\n"
      "tilezero %%tmm\\r\n"
      ".endr\n"
      "tileloadd (%[operands], %[stride]), %%tmm4\n"
      "tileloadd 1024(%[operands], %[stride]), %%tmm5\n"
      "tileloadd 2048(%[operands], %[stride]), %%tmm6\n"
      "tileloadd 3072(%[operands], %[stride]), %%tmm7\n"
      ".balign 32\n"
      "1:\n"
      ".irp half, 0,4096\n"
      ".if %c[loads]\n"
      "tileloadd \\half(%[operands], %[stride]), %%tmm4\n"
      "tileloadd \\half + 1024(%[operands], %[stride]), %%tmm5\n"
      "tileloadd \\half + 2048(%[operands], %[stride]), %%tmm6\n"
      "tileloadd \\half + 3072(%[operands], %[stride]), %%tmm7\n"
      ".endif\n"
      ".if %c[bf16]\n"
      "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n"
      "tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n"
      "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n"
      "tdpbf16ps %%tmm7, %%tmm5, %%tmm3\n"
      ".else\n"
      "tdpbssd %%tmm6, %%tmm4, %%tmm0\n"
      "tdpbssd %%tmm7, %%tmm4, %%tmm1\n"
      "tdpbssd %%tmm6, %%tmm5, %%tmm2\n"
      "tdpbssd %%tmm7, %%tmm5, %%tmm3\n"
      ".endif\n"
      ".endr\n"
      "dec %[iterations]\n"
      "jnz 1b\n"
      "tilerelease\n"
      : [iterations] "+r"(iterations)
      : [operands] "r"(operands), [stride] "r"(kRowBytes), [config] "m"(config),
        [loads] "i"(kLoads ? 1 : 0), [bf16] "i"(kBf16 ? 1 : 0)
      : "cc", "memory");
}

constexpr IsaSet bits(Isa isa) { return static_cast<IsaSet>(isa); }

constexpr std::array<ComputeProbe, 14> kProbes{{
    {"fma_fp32", bits(Isa::kAvx512), 32 * kInstructions, kInstructions, accumulate<kFmaZmm>},
    {"fma_fp32", bits(Isa::kAvx2Fma), 16 * kInstructions, kInstructions, accumulate<kFmaYmm>},
    {"fma_fp32", 0, 4 * kInstructions, kInstructions, fp32_xmm},
    {"fma_fp32_avx2", bits(Isa::kAvx2Fma), 16 * kInstructions, kInstructions, accumulate<kFmaYmm>},
    {"scalar_fp32", 0, 4 * kInstructions, kInstructions, fp32_xmm},
    {"vnni_int8", bits(Isa::kAvx512Vnni), 128 * kInstructions, kInstructions,
     accumulate<kDotInt8Zmm>},
    {"vnni_int8", bits(Isa::kAvxVnni), 64 * kInstructions, kInstructions, accumulate<kDotInt8Ymm>},
    {"avx2_int8", bits(Isa::kAvx2Fma), 64.0 * kMaddChains* kRounds, 3.0 * kMaddChains* kRounds,
     madd_int8_ymm},
    {"avx2_int4", bits(Isa::kAvx2Fma), 64.0 * kNibbleChains* kRounds, 2.0 * kNibbleChains* kRounds,
     madd_int4_ymm},
    {"dot_bf16", bits(Isa::kAvx512Bf16), 64 * kInstructions, kInstructions,
     accumulate<kDotBf16Zmm>},
    {"amx_int8", bits(Isa::kAmxInt8), kTileProducts* kInt8PerTileProduct, kTileProducts,
     amx<false, false>},
    {"amx_int8_l1", bits(Isa::kAmxInt8), kTileProducts* kInt8PerTileProduct, kTileProducts,
     amx<false, true>},
    {"amx_bf16", bits(Isa::kAmxBf16), kTileProducts* kBf16PerTileProduct, kTileProducts,
     amx<true, false>},
    {"amx_bf16_l1", bits(Isa::kAmxBf16), kTileProducts* kBf16PerTileProduct, kTileProducts,
     amx<true, true>},
}};

}  // namespace

std::span<const ComputeProbe> compute_probes() { return kProbes; }

void run_multiplication_chain(std::int64_t count) {
  std::int64_t value = 3;
  asm volatile(
      ".balign 32\n"
      "1:\n"
      ".rept 64\n"
      "imul %[value], %[value]\n"
      ".endr\n"
      "dec %[count]\n"
      "jnz 1b\n"
      : [value] "+r"(value), [count] "+r"(count)
      :
      : "cc");
}

}  // namespace pareto
