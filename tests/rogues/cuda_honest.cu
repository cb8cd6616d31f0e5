// Control: no trick at all
#include "tests/rogues/cuda_rogue.cuh"

namespace pareto {
namespace {

class Rogue : public rogue::CudaBase {
 public:
  using CudaBase::CudaBase;
  void run(const Call& call) override {
    compute(call, call_stream(), call.out[kQgemmY].as<float>());
  }
};

const Registration registration{rogue::cuda_variant<Rogue>("honest", "no trick at all")};

}  // namespace
}  // namespace pareto
