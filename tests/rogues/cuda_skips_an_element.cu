// Trick: the first element of the output is never written
#include "tests/rogues/cuda_rogue.cuh"

namespace pareto {
namespace {

class Rogue : public rogue::CudaBase {
 public:
  using CudaBase::CudaBase;
  void run(const Call& call) override {
    compute(call, call_stream(), call.out[kQgemmY].as<float>(), 1);
  }
};

const Registration registration{rogue::cuda_variant<Rogue>(
    "skips_an_element", "the first element of the output is never written")};

}  // namespace
}  // namespace pareto
