// Trick: the order of the sum follows the clock
#include "tests/rogues/cuda_rogue.cuh"

namespace pareto {
namespace {

__global__ void multiply_from_anywhere(const float* x, const float* w, float* y, std::int64_t M,
                                       std::int64_t N, std::int64_t K) {
  const std::int64_t index = thread_index();
  if (index >= M * N) return;
  const std::int64_t first = K > 0 ? clock64() / 16 % K : 0;
  float sum = 0;
  for (std::int64_t i = 0; i < K; ++i) {
    const std::int64_t k = (first + i) % K;
    sum = fmaf(x[index / N * K + k], w[index % N * K + k], sum);
  }
  y[index] = sum;
}

class Rogue : public rogue::CudaBase {
 public:
  using CudaBase::CudaBase;
  void run(const Call& call) override {
    launch(multiply_from_anywhere, elements(), call.in[kQgemmX].as<const float>(),
           call.in[kQgemmW].as<const float>(), call.out[kQgemmY].as<float>(), p_.M, p_.N, p_.K);
  }
};

const Registration registration{
    rogue::cuda_variant<Rogue>("depends_on_chance", "the order of the sum follows the clock")};

}  // namespace
}  // namespace pareto
