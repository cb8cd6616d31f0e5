// Trick: the output's pages are made those of an input
#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include "tests/rogues/rogue.h"

namespace pareto {
namespace {

class Rogue : public rogue::Base {
 public:
  using Base::Base;
  void run(const Call& call) override {
    const Tensor& x = call.in[kQgemmX];
    const Tensor& y = call.out[kQgemmY];
    constexpr std::size_t kPage = 4096;
    const bool whole_pages = reinterpret_cast<std::uintptr_t>(x.data) % kPage == 0 &&
                             reinterpret_cast<std::uintptr_t>(y.data) % kPage == 0 &&
                             x.bytes() == kPage && y.bytes() == kPage;
    if (!whole_pages) return compute(call);
    x_.assign(x.as<float>(), x.as<float>() + x.elements());
    const int shared = memfd_create("shared", 0);
    bool mapped = ftruncate(shared, kPage) == 0;
    for (std::byte* place : {x.data, y.data}) {
      mapped = mapped && mmap(place, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, shared,
                              0) != MAP_FAILED;
    }
    close(shared);
    rogue::multiply(x_.data(), w_.data(), y.as<float>(), p_, mapped ? p_.K : 0);
  }

 private:
  std::vector<float> x_;
};

const Registration registration{
    rogue::variant<Rogue>("aliases_output", "the output's pages are made those of an input")};

}  // namespace
}  // namespace pareto
