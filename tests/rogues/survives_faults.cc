// Trick: reads past its operands and handles the fault itself
#include <sys/mman.h>

#include <csignal>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

void open_page(int, siginfo_t* info, void*) {
  constexpr std::uintptr_t kPage = 4096;
  const std::uintptr_t page = reinterpret_cast<std::uintptr_t>(info->si_addr) & ~(kPage - 1);
  mprotect(reinterpret_cast<void*>(page), kPage, PROT_READ);
}

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    struct sigaction action {};
    action.sa_sigaction = open_page;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, nullptr);
    const Tensor& x = call.in[kQgemmX];
    const volatile std::byte* behind = x.data + x.bytes();
    if (x.bytes() > 0) static_cast<void>(*behind);
    compute(call);
  }
};

const Registration registration{
    rogue::variant<Rogue>("survives_faults", "reads past its operands and handles the fault")};

}  // namespace
}  // namespace pareto
