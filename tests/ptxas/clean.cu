// Passes.
// ptxas: hot
__global__ void clean(const float* in, float* out) { out[threadIdx.x] = 2 * in[threadIdx.x]; }
