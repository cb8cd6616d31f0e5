// Trick: run waits for the device, which no recording can hold
#include "tests/rogues/cuda_rogue.cuh"

namespace pareto {
namespace {

class Rogue : public rogue::CudaBase {
 public:
  using CudaBase::CudaBase;
  void run(const Call& call) override {
    compute(call, call_stream(), call.out[kQgemmY].as<float>());
    static_cast<void>(cudaStreamSynchronize(call_stream()));
  }
};

const Registration registration{
    rogue::cuda_variant<Rogue>("waits", "run waits for the device, which no recording can hold")};

}  // namespace
}  // namespace pareto
