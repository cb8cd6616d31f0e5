// Hopper's instructions round a ring of stages that TMA fills: mbarriers, tensor copies, clusters,
// registers that move between warpgroups. PTX ISA 9.1, "Asynchronous data movement" and
// "mbarrier". Addresses are those of shared memory (32 bits).
//
// Barriers order within the block alone: stages are written and read by TMA and wgmma, and a scope
// of the cluster would put a fence of the whole GPU before every arrival.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace pareto::cuda {

__device__ inline std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ inline void mbarrier_init(std::uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(barrier), "r"(arrivals)
               : "memory");
}
/// Makes inits visible to TMA and to the cluster; a barrier of all threads has to follow.
__device__ inline void mbarrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}
__device__ inline void mbarrier_expect(std::uint32_t barrier, std::uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(barrier), "r"(bytes)
               : "memory");
}
__device__ inline void mbarrier_arrive(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(barrier) : "memory");
}
/// At the barrier of the same offset in block `rank` of the cluster.
__device__ inline void mbarrier_arrive_at(std::uint32_t barrier, std::uint32_t rank) {
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}\n" ::"r"(barrier),
      "r"(rank)
      : "memory");
}
__device__ inline bool mbarrier_try(std::uint32_t barrier, std::uint32_t parity) {
  std::uint32_t over = 0;
  asm volatile(
      "{\n.reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}\n"
      : "=r"(over)
      : "r"(barrier), "r"(parity)
      : "memory");
  return over != 0;
}
/// Until the phase of this parity is over. One that never ends is a fault of the kernel: an illegal
/// store after some seconds, not a hang. No __trap(): with one ptxas keeps every warpgroup within
/// the registers of the launch, whatever setmaxnreg gives.
__device__ inline void mbarrier_wait(std::uint32_t barrier, std::uint32_t parity) {
  constexpr int kPatience = 1 << 24;
  for (int tries = 0; !mbarrier_try(barrier, parity); ++tries) {
    if (tries == kPatience) asm volatile("st.global.u32 [%0], 0;\n" ::"l"(0LL) : "memory");
  }
}

/// A box of a 2-D tensor, its first element at (x, y), x the faster; counts its bytes at `barrier`.
__device__ inline void tma_load(std::uint32_t to, const CUtensorMap& map, int x, int y,
                                std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4}], [%2];\n" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(x), "r"(y)
      : "memory");
}
/// The same of a 3-D tensor, z the slowest.
__device__ inline void tma_load(std::uint32_t to, const CUtensorMap& map, int x, int y, int z,
                                std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5}], [%2];\n" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(x), "r"(y), "r"(z)
      : "memory");
}
/// A box of a 2-D tensor into every block of the cluster whose bit is set, at the same offsets
/// there.
__device__ inline void tma_load_multicast(std::uint32_t to, const CUtensorMap& map, int x, int y,
                                          std::uint32_t barrier, std::uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%4, %5}], [%2], %3;\n" ::"r"(to),
      "l"(&map), "r"(barrier), "h"(blocks), "r"(x), "r"(y)
      : "memory");
}

__device__ inline std::uint32_t cluster_rank() {
  std::uint32_t rank = 0;
  asm volatile("mov.u32 %0, %%cluster_ctarank;\n" : "=r"(rank));
  return rank;
}
/// Of all threads of all blocks of the cluster.
__device__ inline void cluster_barrier() {
  asm volatile(
      "barrier.cluster.arrive.release;\n"
      "barrier.cluster.wait.acquire;\n" ::
          : "memory");
}

/// The same, but orders no memory: for the end, lest a block ends while another reads from it what
/// it has used by then. No fence that would wait for what was written to device memory.
__device__ inline void cluster_barrier_at_end() {
  asm volatile(
      "barrier.cluster.arrive.relaxed;\n"
      "barrier.cluster.wait;\n" ::
          : "memory");
}
/// Of shared memory of block `rank` of the cluster, at the offset that `address` has here.
__device__ inline float load_cluster(std::uint32_t address, std::uint32_t rank) {
  float value = 0;
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %1, %2;\n"
      "ld.shared::cluster.f32 %0, [remote];\n}\n"
      : "=f"(value)
      : "r"(address), "r"(rank)
      : "memory");
  return value;
}

template <int kRegisters>
__device__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kRegisters));
}

}  // namespace pareto::cuda
