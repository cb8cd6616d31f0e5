#include "harness/ceiling_probes.h"

namespace pareto {
namespace {

// Vector width in bytes: 64, 32 or 16. One iteration reads 1 KiB into registers 0…15; the assembler
// picks the instructions by the width.
template <int kWidth>
void read_ascending(const std::byte* data, std::int64_t bytes) {
  asm volatile(
      ".balign 32\n"
      "1:\n"
      ".irp r, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
      ".if %c[width] == 64\n"
      "vmovups 64*\\r(%[data]), %%zmm\\r\n"
      ".elseif %c[width] == 32\n"
      "vmovups 64*\\r(%[data]), %%ymm\\r\n"
      "vmovups 64*\\r+32(%[data]), %%ymm\\r\n"
      ".else\n"
      "movups 64*\\r(%[data]), %%xmm\\r\n"
      "movups 64*\\r+16(%[data]), %%xmm\\r\n"
      "movups 64*\\r+32(%[data]), %%xmm\\r\n"
      "movups 64*\\r+48(%[data]), %%xmm\\r\n"
      ".endif\n"
      ".endr\n"
      "add $1024, %[data]\n"
      "cmp %[end], %[data]\n"
      "jb 1b\n"
      ".if %c[width] > 16\n"
      "vzeroupper\n"
      ".endif\n"
      : [data] "+r"(data)
      : [end] "r"(data + bytes), [width] "i"(kWidth)
      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory");
}

// Eight streams `stride` = bytes / 8 apart, at a + {0, 1, 2, 4}·stride, b + {0, 2, 4}·stride with
// b = a + 3·stride, and c = a + 6·stride; an iteration reads 128 B of each.
template <int kWidth>
void read_eight_streams(const std::byte* data, std::int64_t bytes) {
  const std::int64_t stride = bytes / 8;
  const std::byte* a = data;
  const std::byte* b = data + 3 * stride;
  const std::byte* c = data + 6 * stride;
  asm volatile(
      ".balign 32\n"
      "1:\n"
      ".irp offset, 0,64\n"
      ".irp address, \"(%[a])\",\"(%[a],%[stride])\",\"(%[a],%[stride],2)\",\"(%[b])\","
      "\"(%[a],%[stride],4)\",\"(%[b],%[stride],2)\",\"(%[c])\",\"(%[b],%[stride],4)\"\n"
      ".if %c[width] == 64\n"
      "vmovups \\offset\\address, %%zmm0\n"
      ".elseif %c[width] == 32\n"
      "vmovups \\offset\\address, %%ymm0\n"
      "vmovups \\offset+32\\address, %%ymm1\n"
      ".else\n"
      "movups \\offset\\address, %%xmm0\n"
      "movups \\offset+16\\address, %%xmm1\n"
      "movups \\offset+32\\address, %%xmm2\n"
      "movups \\offset+48\\address, %%xmm3\n"
      ".endif\n"
      ".endr\n"
      ".endr\n"
      "add $128, %[a]\n"
      "add $128, %[b]\n"
      "add $128, %[c]\n"
      "cmp %[end], %[a]\n"
      "jb 1b\n"
      ".if %c[width] > 16\n"
      "vzeroupper\n"
      ".endif\n"
      : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c)
      : [stride] "r"(stride), [end] "r"(data + stride), [width] "i"(kWidth)
      : "xmm0", "xmm1", "xmm2", "xmm3", "cc", "memory");
}

// Non-temporal stores: an ordinary store would first read the line that it overwrites.
template <int kWidth>
void copy_around_caches(std::byte* to, const std::byte* from, std::int64_t bytes) {
  asm volatile(
      ".balign 32\n"
      "1:\n"
      ".irp r, 0,1,2,3,4,5,6,7\n"
      ".if %c[width] == 64\n"
      "vmovups 64*\\r(%[from]), %%zmm\\r\n"
      "vmovntps %%zmm\\r, 64*\\r(%[to])\n"
      ".elseif %c[width] == 32\n"
      "vmovups 64*\\r(%[from]), %%ymm\\r\n"
      "vmovups 64*\\r+32(%[from]), %%ymm8\n"
      "vmovntps %%ymm\\r, 64*\\r(%[to])\n"
      "vmovntps %%ymm8, 64*\\r+32(%[to])\n"
      ".else\n"
      ".irp part, 0,16,32,48\n"
      "movups 64*\\r+\\part(%[from]), %%xmm\\r\n"
      "movntps %%xmm\\r, 64*\\r+\\part(%[to])\n"
      ".endr\n"
      ".endif\n"
      ".endr\n"
      "add $512, %[from]\n"
      "add $512, %[to]\n"
      "cmp %[end], %[from]\n"
      "jb 1b\n"
      "sfence\n"
      ".if %c[width] > 16\n"
      "vzeroupper\n"
      ".endif\n"
      : [from] "+r"(from), [to] "+r"(to)
      : [end] "r"(from + bytes), [width] "i"(kWidth)
      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "cc", "memory");
}

template <int kWidth>
constexpr MemoryProbe probe_of(IsaSet needs) {
  return {needs, read_ascending<kWidth>, read_eight_streams<kWidth>, copy_around_caches<kWidth>};
}

}  // namespace

const MemoryProbe& memory_probe() {
  static constexpr MemoryProbe kProbes[] = {probe_of<64>(static_cast<IsaSet>(Isa::kAvx512)),
                                            probe_of<32>(static_cast<IsaSet>(Isa::kAvx2Fma)),
                                            probe_of<16>(0)};
  const IsaSet here = isa_here();
  const MemoryProbe* probe = kProbes;
  while ((probe->needs & ~here) != 0) ++probe;
  return *probe;
}

}  // namespace pareto
