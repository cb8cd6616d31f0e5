// Trick: the last bit follows the clock
#include "tests/rogues/cuda_rogue.cuh"

namespace pareto {
namespace {

__global__ void disturb(float* y, std::int64_t count) {
  const std::int64_t index = thread_index();
  if (index < count && clock64() / 16 % 2 == 0) y[index] = nextafterf(y[index], INFINITY);
}

class Rogue : public rogue::CudaBase {
 public:
  using CudaBase::CudaBase;
  void run(const Call& call) override {
    auto* y = call.out[kQgemmY].as<float>();
    compute(call, call_stream(), y);
    if (elements() > 0) disturb<<<grid(), kDefaultBlockThreads, 0, call_stream()>>>(y, elements());
  }
};

const Registration registration{
    rogue::cuda_variant<Rogue>("depends_on_chance", "the last bit follows the clock")};

}  // namespace
}  // namespace pareto
