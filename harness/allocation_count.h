// Counting memory of variants that is not an AlignedBuffer; see counted_bytes().
#pragma once

#include <cstddef>

namespace pareto {

void count_allocated(std::size_t bytes) noexcept;
void count_freed(std::size_t bytes) noexcept;

}  // namespace pareto
