// Refused: registers cannot be indexed at run time.
// ptxas: hot
__global__ void stack_frame(const int* at, float* out) {
  float value[16] = {};
  for (int i = 0; i < 64; ++i) value[at[i] & 15] += value[at[i + 64] & 15] + 1;
  for (int i = 0; i < 16; ++i) out[16 * threadIdx.x + i] = value[i];
}
