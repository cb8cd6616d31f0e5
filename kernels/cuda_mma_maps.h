// Which element of a matrix lies in which lane and register: fragments of mma.sync, ldmatrix and
// stmatrix, metadata of mma.sp. As PTX ISA 9.1 documents them (sections "Matrix fragments for
// mma.m16n8k16", "… k32", "… mma.sp", and "ldmatrix").
//
// Plain constexpr arithmetic, shared by kernels, host tests and the emulator. Lane l of a warp is
// in group g = l / 4 and is member t = l % 4 of it.
#pragma once

namespace pareto::cuda {

inline constexpr int kWarpLanes = 32;

struct Element {
  int row = 0;
  int column = 0;
  constexpr bool operator==(const Element&) const = default;
};

constexpr int group_of(int lane) { return lane / 4; }
constexpr int member_of(int lane) { return lane % 4; }

/// A [16, 16] of 16-bit elements, 4 registers of two: register q, half h (0 is the low one).
constexpr Element mma_a16(int lane, int q, int h) {
  return {group_of(lane) + 8 * (q & 1), 2 * member_of(lane) + h + 8 * (q >> 1)};
}
/// B [k 16, n 8] of 16-bit elements, 2 registers: row is k, column is n.
constexpr Element mma_b16(int lane, int q, int h) {
  return {2 * member_of(lane) + h + 8 * q, group_of(lane)};
}
/// A [16, 32] of 8-bit elements, 4 registers of four: byte b of register q.
constexpr Element mma_a8(int lane, int q, int b) {
  return {group_of(lane) + 8 * (q & 1), 4 * member_of(lane) + b + 16 * (q >> 1)};
}
/// B [k 32, n 8] of 8-bit elements, 2 registers.
constexpr Element mma_b8(int lane, int q, int b) {
  return {4 * member_of(lane) + b + 16 * q, group_of(lane)};
}
/// C and D [16, 8] of 32-bit elements, 4 registers.
constexpr Element mma_d32(int lane, int i) {
  return {group_of(lane) + 8 * (i >> 1), 2 * member_of(lane) + (i & 1)};
}

/// Element of an 8 × 8 matrix of 16-bit elements that ldmatrix leaves in half h of the lane's
/// register, and that stmatrix takes from there.
constexpr Element ldmatrix(int lane, int h) { return {group_of(lane), 2 * member_of(lane) + h}; }
constexpr Element ldmatrix_transposed(int lane, int h) {
  return {2 * member_of(lane) + h, group_of(lane)};
}

/// Where lane l of an ldmatrix.x4 points: a row and a 16-byte chunk of it.
struct RowChunk {
  int row = 0;
  int chunk = 0;
};
/// A tile of 16 rows × 32 bytes arrives as the registers of mma_a16 (or mma_a8).
constexpr RowChunk ldmatrix_a(int lane) { return {lane % 16, lane / 16}; }
/// A tile of W as stored, [n 16][32 bytes of k]: registers 0 and 1 are mma_b16 (or mma_b8) of
/// n 0 … 7, registers 2 and 3 that of n 8 … 15.
constexpr RowChunk ldmatrix_b(int lane) { return {lane % 8 + 8 * (lane / 16), lane / 8 % 2}; }
/// A tile stored [k 16][n 16] of 16-bit elements, through ldmatrix.trans: the same registers.
constexpr RowChunk ldmatrix_b_transposed(int lane) { return {lane % 16, lane / 16}; }

// mma.sp: of every 4 neighbouring k of A two are kept. Compressed column c of A stands in register
// and half as mma_a16 says, and belongs to window c / 2.

/// Window of 4 along k, and row, whose two indices nibble `nibble` (0 … 7) of the lane's metadata
/// holds.
struct SparseWindow {
  int row = 0;
  int window = 0;
};
/// B [k 32, n 8] of 16-bit elements beside a sparse A, 4 registers: row is k, column is n.
constexpr Element sparse_mma_b16(int lane, int q, int h) {
  return {2 * member_of(lane) + h + 8 * q, group_of(lane)};
}
/// m16n8k32, 16-bit: only lanes with member 2·selector and 2·selector + 1 supply metadata.
constexpr bool supplies_metadata16(int lane, int selector) {
  return member_of(lane) / 2 == selector;
}
constexpr SparseWindow metadata16(int lane, int nibble) {
  return {group_of(lane) + 8 * (nibble / 4), 4 * (member_of(lane) % 2) + nibble % 4};
}
/// m16n8k64, 8-bit: every lane does, the selector is 0.
constexpr SparseWindow metadata8(int lane, int nibble) {
  return {group_of(lane) + 8 * (member_of(lane) & 1), 8 * (member_of(lane) >> 1) + nibble};
}
/// The nibble of two kept indices within a window, first < second.
constexpr unsigned metadata_nibble(int first, int second) {
  return static_cast<unsigned>(first | second << 2);
}

}  // namespace pareto::cuda
