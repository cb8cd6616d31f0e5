// Trick: a kernel reads memory that nobody has allocated
#include "tests/rogues/cuda_rogue.cuh"

namespace pareto {
namespace {

__global__ void read_at(const float* from, float* to) { *to += *from; }

class Rogue : public rogue::CudaBase {
 public:
  using CudaBase::CudaBase;
  void run(const Call& call) override {
    compute(call, call_stream(), call.out[kQgemmY].as<float>());
    // Beyond what 57 bits of address reach.
    read_at<<<1, 1, 0, call_stream()>>>(reinterpret_cast<const float*>(0x100000000000000),
                                        call.out[kQgemmY].as<float>());
  }
};

const Registration registration{
    rogue::cuda_variant<Rogue>("reads_nowhere", "a kernel reads memory that nobody has allocated")};

}  // namespace
}  // namespace pareto
