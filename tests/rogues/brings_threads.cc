// Trick: more threads than the team that it is given
#include <thread>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    std::thread([&] { compute(call); }).join();
  }
};

const Registration registration{
    rogue::variant<Rogue>("brings_threads", "more threads than the team that it is given")};

}  // namespace
}  // namespace pareto
