// Refused: setmaxnreg is ignored without launch bounds.
__global__ void ignored_setmaxnreg(float* out) {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 240;\n");
  out[threadIdx.x] = 1;
}
