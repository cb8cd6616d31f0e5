// Trick: the work is done by a thread after run has returned
#include <chrono>
#include <thread>
#include <vector>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  ~Rogue() override {
    if (worker_.joinable()) worker_.join();
  }
  void run(const Call& call) override {
    if (worker_.joinable()) worker_.join();
    const std::vector<Tensor> in(call.in.begin(), call.in.end());
    const std::vector<Tensor> out(call.out.begin(), call.out.end());
    worker_ = std::thread([this, in, out, &pool = call.pool] {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      compute({in, out, pool});
    });
  }

 private:
  std::thread worker_;
};

const Registration registration{
    rogue::variant<Rogue>("works_later", "the work is done by a thread after run has returned")};

}  // namespace
}  // namespace pareto
