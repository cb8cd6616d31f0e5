// Trick: one element is written behind the output
#include "tests/rogues/cuda_rogue.cuh"

namespace pareto {
namespace {

__global__ void write_zero(float* to) { *to = 0; }

class Rogue : public rogue::CudaBase {
 public:
  using CudaBase::CudaBase;
  void run(const Call& call) override {
    auto* y = call.out[kQgemmY].as<float>();
    compute(call, call_stream(), y);
    write_zero<<<1, 1, 0, call_stream()>>>(y + elements());
  }
};

const Registration registration{
    rogue::cuda_variant<Rogue>("writes_outside", "one element is written behind the output")};

}  // namespace
}  // namespace pareto
