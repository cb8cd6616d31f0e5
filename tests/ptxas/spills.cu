// Refused: 96 values that a loop keeps alive, and 64 registers per thread of a full block.
// ptxas: hot
__global__ void __launch_bounds__(1024) spills(const float* in, float* out, int rounds) {
  float value[96];
#pragma unroll
  for (int i = 0; i < 96; ++i) value[i] = in[1024 * i + threadIdx.x];
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < 96; ++i) value[i] = value[i] * value[(i + 37) % 96] + 1;
  }
#pragma unroll
  for (int i = 0; i < 96; ++i) out[1024 * i + threadIdx.x] = value[i];
}
