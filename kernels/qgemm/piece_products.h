// Operands as sums of bf16 pieces: which products of pieces stand for a product of operands, and
// what that loses.
//
// Source: Henry, Tang, Heinecke, "Leveraging the bfloat16 Artificial Intelligence Datatype For
// Higher-Precision Computations" (2019). A piece is what is left of the operand, rounded to bf16:
// two hold fp16 and three fp32 without loss.
#pragma once

namespace pareto {

/// Which piece of x meets which of w.
struct PieceProduct {
  int x = 0;
  int w = 0;
};

/// The smallest first, so that their roundings are small; fewer than these are the last ones.
inline constexpr int kMostPieceProducts = 6;
inline constexpr PieceProduct kPieceProducts[kMostPieceProducts] = {{2, 0}, {1, 1}, {0, 2},
                                                                    {1, 0}, {0, 1}, {0, 0}};

/// The most that a product loses, relative to its size, u = 2^-8 being a piece's rounding: with
/// three products of two pieces the product of the second ones, and of fp32 what is beyond them;
/// with six of three pieces those of the second and third, and of the third ones.
inline constexpr double kPiecesLost3Fp16 = 0x1p-16;
inline constexpr double kPiecesLost3 = 3 * 0x1p-16;
inline constexpr double kPiecesLost6 = 0x1p-23 + 0x1p-32;

}  // namespace pareto
