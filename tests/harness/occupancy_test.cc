#include "harness/occupancy.h"

#include <gtest/gtest.h>

#if __has_include(<cuda_occupancy.h>)
#include <cuda_occupancy.h>
#endif

namespace pareto {
namespace {

Occupancy of(const char* arch, int threads, int registers, int shared_bytes) {
  return occupancy(*multiprocessor_limits(arch),
                   {.threads = threads, .registers = registers, .shared_bytes = shared_bytes});
}

// Documented: 64 warps, 32 blocks and 64 Ki registers per multiprocessor; 164 KB of shared memory
// on 8.0 and 228 KB on 9.0, of which a block may have 163 and 227.
TEST(Occupancy, EachLimitOfTheDocumentationIsReached) {
  EXPECT_EQ(of("sm_80", 256, 32, 0).blocks, 8);  // 2048 threads
  EXPECT_EQ(of("sm_80", 256, 32, 0).warps, 64);
  EXPECT_EQ(of("sm_80", 1024, 64, 0).blocks, 1);  // all registers
  EXPECT_EQ(of("sm_80", 1024, 65, 0).blocks, 0);
  EXPECT_EQ(of("sm_90a", 32, 16, 0).blocks, 32);
  EXPECT_EQ(of("sm_90a", 32, 16, 0).limited_by, "blocks");
  EXPECT_EQ(of("sm_90a", 256, 128, 0).blocks, 2);
  EXPECT_EQ(of("sm_90a", 256, 128, 0).limited_by, "registers");
  EXPECT_EQ(of("sm_90a", 256, 129, 0).blocks, 1);  // 136 registers are given
  EXPECT_EQ(of("sm_80", 128, 32, 163 * 1024).blocks, 1);
  EXPECT_EQ(of("sm_80", 128, 32, 163 * 1024 + 1).blocks, 0);
  EXPECT_EQ(of("sm_80", 128, 32, 163 * 1024 + 1).limited_by, "shared memory");
  EXPECT_EQ(of("sm_90a", 128, 32, 227 * 1024).blocks, 1);
  EXPECT_EQ(of("sm_90a", 128, 32, 113 * 1024).blocks, 2);  // and 1 KB each for the system
  EXPECT_EQ(of("sm_90a", 128, 32, 113 * 1024 + 1).blocks, 1);
}

TEST(Occupancy, OtherArchitecturesAreNotGuessedAt) {
  EXPECT_EQ(multiprocessor_limits("sm_100"), nullptr);
}

#if __has_include(<cuda_occupancy.h>)
cudaOccDeviceProp properties(int major, const MultiprocessorLimits& limits) {
  cudaOccDeviceProp device{};
  device.computeMajor = major;
  device.maxThreadsPerBlock = 1024;
  device.maxThreadsPerMultiprocessor = 2048;
  device.regsPerBlock = 65536;
  device.regsPerMultiprocessor = 65536;
  device.warpSize = 32;
  device.sharedMemPerBlock = 48U * 1024;
  device.sharedMemPerMultiprocessor = static_cast<std::size_t>(limits.shared_bytes);
  device.numSms = 1;
  device.sharedMemPerBlockOptin = static_cast<std::size_t>(limits.shared_bytes_per_block);
  device.reservedSharedMemPerBlock = 1024;
  return device;
}

// The toolkit's own calculation on every register count, and shared memory in odd steps.
TEST(Occupancy, IsTheToolkits) {
  for (const auto& [arch, major] : {std::pair{"sm_80", 8}, std::pair{"sm_90a", 9}}) {
    const MultiprocessorLimits& limits = *multiprocessor_limits(arch);
    const cudaOccDeviceProp device = properties(major, limits);
    for (int threads = 1; threads <= 1024; threads += threads < 128 ? 31 : 100) {
      for (int registers = 1; registers <= 255; ++registers) {
        for (int shared = 0; shared <= limits.shared_bytes_per_block; shared += 5003) {
          cudaOccFuncAttributes kernel{};
          kernel.maxThreadsPerBlock = 1024;
          kernel.numRegs = registers;
          kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
          kernel.maxDynamicSharedSizeBytes =
              static_cast<std::size_t>(limits.shared_bytes_per_block);
          cudaOccDeviceState state{};
          state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
          cudaOccResult want{};
          ASSERT_EQ(cudaOccMaxActiveBlocksPerMultiprocessor(
                        &want, &device, &kernel, &state, threads, static_cast<std::size_t>(shared)),
                    CUDA_OCC_SUCCESS);
          ASSERT_EQ(of(arch, threads, registers, shared).blocks, want.activeBlocksPerMultiprocessor)
              << arch << " " << threads << " threads " << registers << " registers " << shared;
        }
      }
    }
  }
}
#endif

}  // namespace
}  // namespace pareto
