#include "harness/device_kernels.h"

namespace pareto {
namespace {

constexpr int kThreads = 256;
// Enough to fill any device of today; each thread strides through the rest.
constexpr std::int64_t kMostBlocks = 4096;

unsigned blocks_for(std::size_t items) {
  const auto blocks = static_cast<std::int64_t>((items + kThreads - 1) / kThreads);
  return static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks);
}

__device__ std::size_t first_item() {
  return static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ std::size_t item_stride() { return static_cast<std::size_t>(gridDim.x) * blockDim.x; }

// Byte by byte: tensors are aligned to their element only, and this is never timed.
__global__ void fill_bytes(unsigned char* to, unsigned long long pattern, std::size_t bytes) {
  for (std::size_t i = first_item(); i < bytes; i += item_stride()) {
    to[i] = static_cast<unsigned char>(pattern >> (8 * (i % 8)));
  }
}

// splitmix64 of position and value; sums are equal in whatever order they are made.
__device__ unsigned long long mixed(unsigned long long z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

__global__ void noise_words(unsigned long long* to, unsigned long long random,
                            unsigned long long fixed, std::size_t words) {
  for (std::size_t i = first_item(); i < words; i += item_stride()) {
    to[i] = (mixed(0x9e3779b97f4a7c15ULL * (i + 1)) & random) | fixed;
  }
}

__global__ void hash_bytes(const unsigned char* data, std::size_t bytes, unsigned long long* sum) {
  unsigned long long own = 0;
  for (std::size_t i = first_item(); i < bytes; i += item_stride()) {
    own += mixed(0x9e3779b97f4a7c15ULL * (i + 1) + data[i]);
  }
  for (int distance = 16; distance > 0; distance /= 2) {
    own += __shfl_xor_sync(0xffffffffU, own, distance);
  }
  if (threadIdx.x % 32 == 0) atomicAdd(sum, own);
}

__global__ void read_all(const float4* data, std::size_t items, int times, float* sink) {
  float sum = 0;
  for (int time = 0; time < times; ++time) {
    for (std::size_t i = first_item(); i < items; i += item_stride()) {
      float4 v;
      // Past L1, and volatile: repeated reads of the same place must not become one.
      asm volatile("ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4];"
                   : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                   : "l"(data + i));
      sum += (v.x + v.y) + (v.z + v.w);
    }
  }
  if (sum != sum) *sink = sum;  // keeps the loads: the operands hold no NaN
}

__global__ void copy_all(float4* to, const float4* from, std::size_t items) {
  for (std::size_t i = first_item(); i < items; i += item_stride()) to[i] = from[i];
}

// 8 independent chains hide the 4-cycle latency of an FMA even with one warp per scheduler.
__global__ void fma_chains(std::int64_t rounds, float* sink) {
  constexpr int kChains = 8;
  float sum[kChains];
  for (int c = 0; c < kChains; ++c) sum[c] = static_cast<float>(threadIdx.x + c);
  const float factor = 0.999F + 1e-9F * static_cast<float>(threadIdx.x);
  for (std::int64_t round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kFmaPerRound / kChains; ++i) {
#pragma unroll
      for (int c = 0; c < kChains; ++c) sum[c] = fmaf(sum[c], factor, 1.0F);
    }
  }
  float total = 0;
  for (int c = 0; c < kChains; ++c) total += sum[c];
  if (total < 0) *sink = total;  // never: the chains stay positive
}

}  // namespace

void start_fill(void* to, std::uint64_t pattern, std::size_t bytes, cudaStream_t stream) {
  fill_bytes<<<blocks_for(bytes), kThreads, 0, stream>>>(static_cast<unsigned char*>(to), pattern,
                                                         bytes);
}

void start_noise(void* to, std::uint64_t random, std::uint64_t fixed, std::size_t bytes,
                 cudaStream_t stream) {
  const std::size_t words = bytes / sizeof(unsigned long long);
  noise_words<<<blocks_for(words), kThreads, 0, stream>>>(static_cast<unsigned long long*>(to),
                                                          random, fixed, words);
}

void start_hash(const void* data, std::size_t bytes, unsigned long long* sum, cudaStream_t stream) {
  hash_bytes<<<blocks_for(bytes), kThreads, 0, stream>>>(static_cast<const unsigned char*>(data),
                                                         bytes, sum);
}

void start_read(const void* data, std::size_t bytes, int times, float* sink, cudaStream_t stream) {
  const std::size_t items = bytes / sizeof(float4);
  read_all<<<blocks_for(items), kThreads, 0, stream>>>(static_cast<const float4*>(data), items,
                                                       times, sink);
}

void start_copy(void* to, const void* from, std::size_t bytes, cudaStream_t stream) {
  const std::size_t items = bytes / sizeof(float4);
  copy_all<<<blocks_for(items), kThreads, 0, stream>>>(static_cast<float4*>(to),
                                                       static_cast<const float4*>(from), items);
}

void start_fma(std::int64_t rounds, int blocks, float* sink, cudaStream_t stream) {
  fma_chains<<<static_cast<unsigned>(blocks), kFmaThreads, 0, stream>>>(rounds, sink);
}

}  // namespace pareto
