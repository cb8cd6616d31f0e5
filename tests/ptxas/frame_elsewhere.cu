// Passes: it does not say that it is hot.
__global__ void frame_elsewhere(const int* at, float* out) {
  float value[16] = {};
  for (int i = 0; i < 64; ++i) value[at[i] & 15] += value[at[i + 64] & 15] + 1;
  for (int i = 0; i < 16; ++i) out[16 * threadIdx.x + i] = value[i];
}
