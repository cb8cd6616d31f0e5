// Trick: the work is done on a stream that is not timed
#include "tests/rogues/cuda_rogue.cuh"

namespace pareto {
namespace {

class Rogue : public rogue::CudaBase {
 public:
  explicit Rogue(const Problem& problem) : CudaBase(problem) {
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  ~Rogue() override { static_cast<void>(cudaStreamDestroy(stream_)); }
  void run(const Call& call) override { compute(call, stream_, call.out[kQgemmY].as<float>()); }

 private:
  cudaStream_t stream_ = nullptr;
};

const Registration registration{rogue::cuda_variant<Rogue>(
    "uses_another_stream", "the work is done on a stream that is not timed")};

}  // namespace
}  // namespace pareto
