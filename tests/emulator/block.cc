#include "tests/emulator/block.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <memory>

#include "kernels/cuda_mma_maps.h"
#include "tests/emulator/halves.h"

namespace pareto::emulator {

using cuda::Element;
using cuda::kWarpLanes;

Block::Block(int threads, std::size_t shared_bytes, std::uint64_t seed)
    : fibers_(seed),
      threads_(threads),
      shared_(shared_bytes),
      meetings_(static_cast<std::size_t>(threads / kWarpLanes)) {}

void Block::run(const std::function<void(Lane&)>& body) {
  std::vector<std::unique_ptr<Lane>> lanes;
  fibers_.run(threads_, [&](int thread) {
    Lane lane(*this, thread);
    body(lane);
    if (!lane.open_.empty()) throw Fault("a thread ended with copies that it never committed");
  });
}

std::span<Block::SharedByte> Block::at(std::uint32_t offset, std::size_t bytes) {
  if (offset + bytes > shared_.size()) {
    throw Fault(
        fmt::format("shared memory: bytes {} to {} of {}", offset, offset + bytes, shared_.size()));
  }
  return std::span(shared_).subspan(offset, bytes);
}

bool Block::unordered(int other, int warp, std::int64_t epoch, const Lane& lane) {
  if (epoch < 0 || epoch / Lane::kWarpEpochs != lane.epoch_ / Lane::kWarpEpochs) return false;
  if (warp != lane.thread() / kWarpLanes) return true;
  return epoch == lane.epoch_ && other != lane.thread();
}

void Block::claim_for_writing(std::uint32_t offset, std::size_t bytes, const Lane& lane) {
  for (SharedByte& byte : at(offset, bytes)) {
    const bool read_by_other = unordered(byte.reader, byte.reader_warp, byte.read_epoch, lane);
    const bool written_by_other =
        unordered(byte.writer, byte.writer / kWarpLanes, byte.write_epoch, lane);
    if (read_by_other || written_by_other || byte.copying != kNobody) {
      throw Fault(fmt::format("race: thread {} writes at {} what thread {} {} since the barrier",
                              lane.thread(), offset, read_by_other ? byte.reader : byte.writer,
                              read_by_other ? "has read" : "has written"));
    }
  }
}

void Block::write(std::uint32_t offset, std::span<const std::byte> bytes, const Lane& lane) {
  const std::span<SharedByte> to = at(offset, bytes.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    to[i].value = bytes[i];
    to[i].written = true;
    to[i].copying = kNobody;
    to[i].writer = lane.thread();
    to[i].write_epoch = lane.epoch_;
  }
}

void Block::read(std::uint32_t offset, std::span<std::byte> bytes, const Lane& lane) {
  const std::span<SharedByte> from = at(offset, bytes.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    SharedByte& byte = from[i];
    if (byte.copying != kNobody) {
      throw Fault(fmt::format("thread {} reads at {} what thread {} is still copying",
                              lane.thread(), offset, byte.copying));
    }
    if (!byte.written) {
      throw Fault(fmt::format("thread {} reads at {} what nobody wrote", lane.thread(), offset));
    }
    if (unordered(byte.writer, byte.writer / kWarpLanes, byte.write_epoch, lane)) {
      throw Fault(
          fmt::format("race: thread {} reads at {} what thread {} has written since the "
                      "barrier",
                      lane.thread(), offset, byte.writer));
    }
    const int warp = lane.thread() / kWarpLanes;
    if (!unordered(byte.reader, byte.reader_warp, byte.read_epoch, lane)) {
      byte.reader = lane.thread();
      byte.reader_warp = warp;
    } else {
      byte.reader = kSeveral;
      if (byte.reader_warp != warp) byte.reader_warp = kSeveral;
    }
    byte.read_epoch = lane.epoch_;
    bytes[i] = byte.value;
  }
}

void Block::check_readable(const std::uint16_t* from, int count) const {
  for (const std::span<const std::uint16_t> memory : readable_) {
    if (from >= memory.data() && from + count <= memory.data() + memory.size()) return;
  }
  throw Fault(fmt::format("global memory: {} elements read outside of every operand", count));
}

void Block::meet(Lane& lane, const char* instruction, const std::function<void(Meeting&)>& what) {
  Meeting& meeting = meetings_[static_cast<std::size_t>(lane.thread() / kWarpLanes)];
  if (!meeting.lanes.empty() && std::strcmp(meeting.instruction, instruction) != 0) {
    throw Fault(fmt::format("divergence: {} and {} in one warp", meeting.instruction, instruction));
  }
  meeting.instruction = instruction;
  meeting.lanes.push_back(&lane);
  const std::int64_t number = meeting.number;
  if (meeting.lanes.size() < static_cast<std::size_t>(kWarpLanes)) {
    fibers_.wait_until([&meeting, number] { return meeting.number > number; });
    return;
  }
  std::vector<Lane*> in_order(kWarpLanes);
  for (Lane* each : meeting.lanes) {
    in_order[static_cast<std::size_t>(each->thread() % kWarpLanes)] = each;
  }
  meeting.lanes = in_order;
  what(meeting);
  meeting.lanes.clear();
  ++meeting.number;
}

float Lane::exchange(float value, int distance) {
  exchanged_ = value;
  distance_ = distance;
  block_.meet(*this, "shfl.xor", [](Block::Meeting& meeting) {
    std::array<float, kWarpLanes> sent{};
    for (std::size_t l = 0; l < sent.size(); ++l) {
      sent[l] = meeting.lanes[l]->exchanged_;
      if (meeting.lanes[l]->distance_ != meeting.lanes[0]->distance_) {
        throw Fault("shfl.xor: the lanes of a warp disagree on the distance");
      }
    }
    for (std::size_t l = 0; l < sent.size(); ++l) {
      Lane& lane = *meeting.lanes[l];
      lane.exchanged_ = sent[l ^ static_cast<std::size_t>(lane.distance_)];
    }
  });
  return exchanged_;
}

void Lane::copy_chunk(std::uint32_t offset, const std::uint16_t* from, int valid, bool aligned) {
  if (offset % 16 != 0) throw Fault(fmt::format("copy to {}: not 16-byte aligned", offset));
  Copy copy{.offset = offset, .bytes = {}};
  if (valid > 0) {
    block_.check_readable(from, valid);
    std::memcpy(copy.bytes.data(), from, 2 * static_cast<std::size_t>(valid));
  }
  block_.claim_for_writing(offset, copy.bytes.size(), *this);
  if (!aligned) return block_.write(offset, copy.bytes, *this);
  for (Block::SharedByte& byte : block_.at(offset, copy.bytes.size())) byte.copying = thread_;
  open_.push_back(copy);
}

void Lane::commit_copies() {
  groups_.push_back(std::move(open_));
  open_.clear();
}

void Lane::wait_until_copied(int pending) {
  while (groups_.size() > static_cast<std::size_t>(pending)) {
    for (const Copy& copy : groups_.front()) block_.write(copy.offset, copy.bytes, *this);
    groups_.erase(groups_.begin());
  }
}

void Lane::barrier() {
  const std::int64_t number = block_.barriers_;
  if (++block_.at_barrier_ == block_.threads_) {
    block_.at_barrier_ = 0;
    ++block_.barriers_;
  } else {
    block_.fibers_.wait_until([this, number] { return block_.barriers_ > number; });
  }
  epoch_ = (number + 1) * kWarpEpochs;
}

std::uint32_t Lane::load_pair(const std::uint16_t* from) const {
  block_.check_readable(from, 2);
  return from[0] | static_cast<std::uint32_t>(from[1]) << 16U;
}
void Lane::store_pair(std::uint16_t* to, std::uint32_t pair) const {
  to[0] = static_cast<std::uint16_t>(pair);
  to[1] = static_cast<std::uint16_t>(pair >> 16U);
}
float Lane::exp2(float x) const { return std::exp2(x); }
std::uint32_t Lane::pack_bf16(float low, float high) const {
  return to_bf16(low) | static_cast<std::uint32_t>(to_bf16(high)) << 16U;
}
std::uint32_t Lane::pack_fp16(float low, float high) const {
  return to_fp16(low) | static_cast<std::uint32_t>(to_fp16(high)) << 16U;
}

void Lane::store_shared(std::uint32_t offset, float value) {
  block_.claim_for_writing(offset, sizeof(value), *this);
  block_.write(offset, std::as_bytes(std::span(&value, 1)), *this);
}

float Lane::load_shared(std::uint32_t offset) {
  float value = 0;
  block_.read(offset, std::as_writable_bytes(std::span(&value, 1)), *this);
  return value;
}

void Lane::load_matrices(std::uint32_t (&to)[4], std::uint32_t offset) {
  load_matrices_as("ldmatrix", cuda::ldmatrix, to, offset);
}
void Lane::load_matrices_transposed(std::uint32_t (&to)[4], std::uint32_t offset) {
  load_matrices_as("ldmatrix.trans", cuda::ldmatrix_transposed, to, offset);
}

void Lane::load_matrices_as(const char* instruction, MatrixMap map, std::uint32_t (&to)[4],
                            std::uint32_t offset) {
  if (offset % 16 != 0) throw Fault(fmt::format("ldmatrix from {}: not 16-byte aligned", offset));
  offset_ = offset;
  matrices_ = to;
  block_.meet(*this, instruction, [this, map](Block::Meeting& meeting) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      std::uint16_t rows[8][8];
      for (int row = 0; row < 8; ++row) {
        const Lane& pointing =
            *meeting.lanes[8 * static_cast<std::size_t>(matrix) + static_cast<std::size_t>(row)];
        block_.read(pointing.offset_, std::as_writable_bytes(std::span(rows[row])), pointing);
      }
      for (int lane = 0; lane < kWarpLanes; ++lane) {
        const Element low = map(lane, 0);
        const Element high = map(lane, 1);
        meeting.lanes[static_cast<std::size_t>(lane)]->matrices_[matrix] =
            rows[low.row][low.column] | static_cast<std::uint32_t>(rows[high.row][high.column])
                                            << 16U;
      }
    }
  });
}

void Lane::multiply(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                    std::uint32_t b1) {
  multiply_as("mma.bf16", bf16_half, sum, a, b0, b1);
}
void Lane::multiply_fp16(float (&sum)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                         std::uint32_t b1) {
  multiply_as("mma.f16", fp16_half, sum, a, b0, b1);
}

void Lane::multiply_as(const char* instruction, HalfValue value, float (&sum)[4],
                       const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  sum_ = sum;
  std::copy(std::begin(a), std::end(a), a_.begin());
  b_ = {b0, b1, 0, 0};
  block_.meet(*this, instruction, [value](Block::Meeting& meeting) {
    float left[16][16];
    float right[16][8];
    for (int l = 0; l < kWarpLanes; ++l) {
      const Lane& lane = *meeting.lanes[static_cast<std::size_t>(l)];
      for (int half = 0; half < 2; ++half) {
        for (int q = 0; q < 4; ++q) {
          const Element e = cuda::mma_a16(l, q, half);
          left[e.row][e.column] = value(lane.a_[static_cast<std::size_t>(q)], half);
        }
        for (int q = 0; q < 2; ++q) {
          const Element e = cuda::mma_b16(l, q, half);
          right[e.row][e.column] = value(lane.b_[static_cast<std::size_t>(q)], half);
        }
      }
    }
    for (int l = 0; l < kWarpLanes; ++l) {
      for (int i = 0; i < 4; ++i) {
        const Element e = cuda::mma_d32(l, i);
        double total = meeting.lanes[static_cast<std::size_t>(l)]->sum_[i];
        for (int k = 0; k < 16; ++k) total += double{left[e.row][k]} * right[k][e.column];
        meeting.lanes[static_cast<std::size_t>(l)]->sum_[i] = static_cast<float>(total);
      }
    }
  });
}

}  // namespace pareto::emulator
