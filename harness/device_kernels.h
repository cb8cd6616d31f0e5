// Kernels of the harness itself, behind plain functions. All of them only start work on the stream.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace pareto {

/// Repeats the 8 bytes of `pattern` over `bytes` at `to`.
void start_fill(void* to, std::uint64_t pattern, std::size_t bytes, cudaStream_t stream);
/// Writes pseudo-random words of 8 bytes: the bits of `random` drawn, those of `fixed` set.
void start_noise(void* to, std::uint64_t random, std::uint64_t fixed, std::size_t bytes,
                 cudaStream_t stream);
/// Adds a hash of `bytes` at `data` to *sum; the order of the additions does not matter.
void start_hash(const void* data, std::size_t bytes, unsigned long long* sum, cudaStream_t stream);

/// Reads `bytes` (a multiple of 16) at `data`, which is 16-byte aligned, so many times; writes to
/// *sink only if their sum is not a number.
void start_read(const void* data, std::size_t bytes, int times, float* sink, cudaStream_t stream);
/// Copies `bytes` (a multiple of 16) between 16-byte aligned places.
void start_copy(void* to, const void* from, std::size_t bytes, cudaStream_t stream);
/// `rounds` × kFmaPerRound fp32 multiply-adds on each of `blocks` × kFmaThreads threads.
void start_fma(std::int64_t rounds, int blocks, float* sink, cudaStream_t stream);
inline constexpr int kFmaPerRound = 128;
inline constexpr int kFmaThreads = 256;

}  // namespace pareto
