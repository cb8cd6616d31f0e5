// The instructions of kernels/sparse/sparse_lane.cuh.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "kernels/cuda_mma_maps.h"
#include "tests/emulator/block.h"
#include "tests/emulator/halves.h"

namespace pareto::emulator {

using cuda::Element;
using cuda::kWarpLanes;

void Lane::warp_barrier() {
  block_.meet(*this, "syncwarp", [](Block::Meeting& /*meeting*/) {});
  ++epoch_;
}

void Lane::copy_shared_out(int most, std::uint32_t offset, const void* from, int chunks) {
  if (chunks > most) throw Fault(fmt::format("{} chunks where {} are the most", chunks, most));
  for (int c = thread_ % kWarpLanes; c < chunks; c += kWarpLanes) {
    copy_chunk(offset + 16 * static_cast<std::uint32_t>(c),
               static_cast<const std::uint16_t*>(from) + 8 * c, 8, true);
  }
}

std::uint32_t Lane::load_word(std::uint32_t offset) {
  if (offset % 4 != 0) throw Fault(fmt::format("word at {}: not aligned", offset));
  std::uint32_t value = 0;
  block_.read(offset, std::as_writable_bytes(std::span(&value, 1)), *this);
  return value;
}

// Whatever is there, without a claim to it.
std::uint32_t Lane::peek_word(std::uint32_t offset) const {
  std::uint32_t value = 0;
  for (unsigned shift = 0; const Block::SharedByte& byte : block_.at(offset, sizeof(value))) {
    value |=
        static_cast<std::uint32_t>(byte.copying == Block::kNobody ? byte.value : std::byte{0xff})
        << shift;
    shift += 8;
  }
  return value;
}

void Lane::load_four_words(std::uint32_t offset, std::uint32_t (&to)[4]) {
  if (offset % 16 != 0) throw Fault(fmt::format("four words at {}: not aligned", offset));
  block_.read(offset, std::as_writable_bytes(std::span(to)), *this);
}

void Lane::load_two(std::uint32_t offset, float (&to)[2]) {
  if (offset % 8 != 0) throw Fault(fmt::format("two floats at {}: not aligned", offset));
  block_.read(offset, std::as_writable_bytes(std::span(to)), *this);
}

void Lane::load_two_entries(std::uint32_t offset, std::uint32_t (&column)[2], float (&value)[2]) {
  std::uint32_t words[4];
  load_four_words(offset, words);
  for (int i = 0; i < 2; ++i) {
    column[i] = words[2 * i];
    value[i] = std::bit_cast<float>(words[2 * i + 1]);
  }
}

void Lane::load_four(const float* from, float (&to)[4]) const {
  block_.check_readable(reinterpret_cast<const std::uint16_t*>(from), 8);
  std::copy_n(from, 4, to);
}

void Lane::load_once(const std::uint32_t* from, std::uint32_t (&to)[4]) const {
  if (reinterpret_cast<std::uintptr_t>(from) % 16 != 0) throw Fault("global memory: not aligned");
  block_.check_readable(reinterpret_cast<const std::uint16_t*>(from), 8);
  std::copy_n(from, 4, to);
}

std::uint32_t Lane::load_once(const std::uint32_t* from) const {
  block_.check_readable(reinterpret_cast<const std::uint16_t*>(from), 2);
  return *from;
}

void Lane::store_word(std::uint32_t offset, std::uint32_t value) {
  block_.claim_for_writing(offset, sizeof(value), *this);
  block_.write(offset, std::as_bytes(std::span(&value, 1)), *this);
}

std::uint32_t Lane::shuffle(const char* instruction, std::uint32_t value,
                            const std::function<int(int)>& source) {
  shuffled_ = value;
  block_.meet(*this, instruction, [&source](Block::Meeting& meeting) {
    std::array<std::uint32_t, kWarpLanes> sent{};
    for (std::size_t l = 0; l < sent.size(); ++l) sent[l] = meeting.lanes[l]->shuffled_;
    for (int l = 0; l < kWarpLanes; ++l) {
      meeting.lanes[static_cast<std::size_t>(l)]->shuffled_ =
          sent[static_cast<std::size_t>(source(l))];
    }
  });
  return shuffled_;
}

std::uint32_t Lane::add_below(std::uint32_t value, int distance) {
  const std::uint32_t below =
      shuffle("shfl.up", value, [distance](int l) { return l < distance ? l : l - distance; });
  return thread_ % kWarpLanes < distance ? value : value + below;
}

std::uint32_t Lane::of_last_lane(std::uint32_t value) {
  return shuffle("shfl.idx", value, [](int) { return kWarpLanes - 1; });
}

std::uint32_t Lane::exchange_with_neighbour(std::uint32_t value) {
  return shuffle("shfl.bfly", value, [](int l) { return l ^ 1; });
}

std::uint32_t Lane::permute_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t selectors) const {
  const std::uint64_t bytes = std::uint64_t{b} << 32U | a;
  std::uint32_t result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const std::uint32_t selector = selectors >> 4 * i & 15U;
    std::uint32_t byte = static_cast<std::uint32_t>(bytes >> 8 * (selector & 7U)) & 255U;
    if (selector > 7) byte = byte >> 7U != 0 ? 255 : 0;
    result |= byte << 8 * i;
  }
  return result;
}

std::uint32_t Lane::add_byte_products(std::uint32_t a, std::uint32_t b, std::uint32_t sum) const {
  for (unsigned shift = 0; shift < 32; shift += 8) sum += (a >> shift & 255U) * (b >> shift & 255U);
  return sum;
}

void Lane::multiply_sparse(int selector, float (&sum)[4], const std::uint32_t (&a)[4],
                           const std::uint32_t (&b)[4], std::uint32_t meta) {
  sum_ = sum;
  std::copy(std::begin(a), std::end(a), a_.begin());
  std::copy(std::begin(b), std::end(b), b_.begin());
  meta_ = meta;
  block_.meet(*this, selector == 0 ? "mma.sp 0" : "mma.sp 1", [selector](Block::Meeting& meeting) {
    float compressed[16][16];
    float right[32][8];
    unsigned places[16][8];
    for (int l = 0; l < kWarpLanes; ++l) {
      const Lane& lane = *meeting.lanes[static_cast<std::size_t>(l)];
      for (int half = 0; half < 2; ++half) {
        for (int q = 0; q < 4; ++q) {
          const Element of_a = cuda::mma_a16(l, q, half);
          const Element of_b = cuda::sparse_mma_b16(l, q, half);
          compressed[of_a.row][of_a.column] = bf16_half(lane.a_[static_cast<std::size_t>(q)], half);
          right[of_b.row][of_b.column] = bf16_half(lane.b_[static_cast<std::size_t>(q)], half);
        }
      }
      for (int nibble = 0; nibble < 8 && cuda::supplies_metadata16(l, selector); ++nibble) {
        const cuda::SparseWindow at = cuda::metadata16(l, nibble);
        places[at.row][at.window] = lane.meta_ >> static_cast<unsigned>(4 * nibble) & 15U;
      }
    }
    for (int l = 0; l < kWarpLanes; ++l) {
      for (int i = 0; i < 4; ++i) {
        const Element e = cuda::mma_d32(l, i);
        double total = meeting.lanes[static_cast<std::size_t>(l)]->sum_[i];
        for (int c = 0; c < 16; ++c) {
          const unsigned place = places[e.row][c / 2];
          if ((place & 3U) >= place >> 2U) throw Fault(fmt::format("metadata {:x}", place));
          const auto at = static_cast<int>(c % 2 == 0 ? place & 3U : place >> 2U);
          total += double{compressed[e.row][c]} * right[4 * (c / 2) + at][e.column];
        }
        meeting.lanes[static_cast<std::size_t>(l)]->sum_[i] = static_cast<float>(total);
      }
    }
  });
}

}  // namespace pareto::emulator
