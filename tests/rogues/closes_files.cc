// Trick: closes the files of the process, so that its result cannot be told
#include <unistd.h>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    constexpr int kChecks = 300;  // all checks before the timing come to fewer calls
    constexpr int kFiles = 64;
    if (++calls_ == kChecks) {
      for (int file = 3; file < kFiles; ++file) close(file);
    }
    compute(call);
  }

 private:
  int calls_ = 0;
};

const Registration registration{
    rogue::variant<Rogue>("closes_files", "closes the files of the process")};

}  // namespace
}  // namespace pareto
