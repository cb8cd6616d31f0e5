// Trick: a helper thread goes on running between calls
#include <atomic>
#include <chrono>
#include <thread>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  ~Rogue() override {
    stop_ = true;
    if (helper_.joinable()) helper_.join();
  }
  void run(const Call& call) override {
    if (!helper_.joinable()) {
      helper_ = std::thread([this] {
        while (!stop_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      });
    }
    compute(call);
  }

 private:
  std::atomic<bool> stop_{false};
  std::thread helper_;
};

const Registration registration{
    rogue::variant<Rogue>("leaves_a_thread", "a helper thread goes on running between calls")};

}  // namespace
}  // namespace pareto
