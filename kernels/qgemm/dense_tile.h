// Register tile of the dense products: rows × two vectors of columns over steps of one dword of K,
// which leaves its sums in c or, finished, in y.
//
// Included inside a `#pragma GCC target` region. `Dense` is one kind of panel: its vectors of
// columns (`Vector`, `Reg`), `load_w`, `broadcast`, `multiply_add`, and `Finish` for the epilogue.
//
// A strip holds 16 dwords of each row side by side, [⌈K/16⌉][rows][16]: rows are copied, not
// transposed, or read where they lie. With few rows one step depends on the one before (4 to 6
// cycles), so that several steps have sums of their own.
//
// Four steps stand in a row: the instructions that count them are a fifth of an AVX2 step, and
// where two hardware threads share a core it is the decoder, not the multipliers, that is short
// (Zen 3, shared: 10 to 20 % of the time).
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "kernels/qgemm/pack_strip.h"
#include "kernels/qgemm/tile_gemm.h"

namespace pareto {

/// A `Finish` for sums that are only short of the bias.
template <typename Columns>
struct AddBias {
  using Reg = typename Columns::Float;
  AddBias(const Epilogue& e, std::int64_t column)
      : bias(e.bias == nullptr ? Columns::zero() : Columns::load_any(e.bias + column)) {}
  [[nodiscard]] Reg operator()(const Epilogue& /*e*/, std::int64_t /*row*/, Reg sum) const {
    return Columns::add(sum, bias);
  }
  Reg bias;
};

/// The sums of one tile.
template <typename Dense, int kRows, int kVectors>
using DenseSums = typename Dense::Reg[kRows][kVectors];

/// Where the rows of a strip stand: every third one's pointer, so that few registers and no
/// arithmetic reach all of them.
template <typename Dense, int kRows>
struct RowPointers {
  explicit RowPointers(const TileBlock& block) : stride(block.a_row_bytes) {
#pragma GCC unroll 4
    for (int i = 0; i < kThirds; ++i) third[i] = block.a + 3 * i * stride;
  }
  [[nodiscard]] const std::byte* row(int i) const { return third[i / 3] + i % 3 * stride; }
  void advance(std::int64_t bytes) {
#pragma GCC unroll 4
    for (int i = 0; i < kThirds; ++i) third[i] += bytes;
  }
  static constexpr int kThirds = (kRows + 2) / 3;
  const std::byte* third[kThirds];
  std::int64_t stride;
};

/// One step of K.
template <typename Dense, int kRows, int kVectors>
[[gnu::always_inline]] inline void dense_step(const RowPointers<Dense, kRows>& a,
                                              const std::byte* w,
                                              DenseSums<Dense, kRows, kVectors>& sum) {
  typename Dense::Reg columns[kVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) columns[v] = Dense::load_w(w, v);
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    const typename Dense::Reg x = Dense::broadcast(a.row(i));
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = Dense::multiply_add(sum[i][v], columns[v], x);
    }
  }
}

/// `kLines` of the two cache lines that a step reads are fetched into L2, `ahead` bytes from w.
template <int kLines>
[[gnu::always_inline]] inline void fetch_to_l2(const std::byte* w, std::int64_t ahead) {
  if constexpr (kLines > 0) _mm_prefetch(reinterpret_cast<const char*>(w) + ahead, _MM_HINT_T1);
  if constexpr (kLines > 1)
    _mm_prefetch(reinterpret_cast<const char*>(w) + ahead + 64, _MM_HINT_T1);
}

/// Steps that do not wait for one another: every chain has sums of its own, the first one the
/// tile's.
template <typename Dense, int kRows, int kVectors, int kChains>
using DenseChains = DenseSums<Dense, kRows, kVectors>[kChains];  // [0] is not used

template <typename Dense, int kRows, int kVectors, int kChains>
[[gnu::always_inline]] inline void start_chains(
    DenseChains<Dense, kRows, kVectors, kChains>& other) {
#pragma GCC unroll 4
  for (int chain = 1; chain < kChains; ++chain) {
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) other[chain][i][v] = Dense::zero();
    }
  }
}

template <typename Dense, int kRows, int kVectors, int kChains>
[[gnu::always_inline]] inline void join_chains(
    const DenseChains<Dense, kRows, kVectors, kChains>& other,
    DenseSums<Dense, kRows, kVectors>& sum) {
#pragma GCC unroll 4
  for (int chain = 1; chain < kChains; ++chain) {
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        sum[i][v] = Dense::Vector::add(sum[i][v], other[chain][i][v]);
      }
    }
  }
}

/// sum += strip · panel; the chains take turns, step by step.
template <typename Dense, int kRows, int kVectors, int kLines, int kChains>
[[gnu::always_inline]] inline void dense_steps(const TileBlock& block,
                                               DenseSums<Dense, kRows, kVectors>& sum) {
  RowPointers<Dense, kRows> a(block);
  const std::byte* w = block.w;
  DenseChains<Dense, kRows, kVectors, kChains> other;
  start_chains<Dense, kRows, kVectors, kChains>(other);
  std::int64_t steps = block.steps;
  for (; steps >= kChunkDwords; steps -= kChunkDwords) {
#pragma GCC unroll 4
    for (int k = 0; k < kChunkDwords; k += kChains) {
#pragma GCC unroll 4
      for (int chain = 0; chain < kChains; ++chain) {
        fetch_to_l2<kLines>(w, block.ahead_bytes);
        dense_step<Dense, kRows, kVectors>(a, w, chain == 0 ? sum : other[chain]);
        a.advance(4);
        w += Dense::kStepBytes;
      }
    }
    a.advance(block.a_chunk_bytes - kChunkBytes);
  }
  for (; steps > 0; --steps, a.advance(4), w += Dense::kStepBytes) {
    dense_step<Dense, kRows, kVectors>(a, w, sum);
  }
  join_chains<Dense, kRows, kVectors, kChains>(other, sum);
}

/// The same; each chain takes an equal share of the chunks of K, so that W arrives in as many
/// streams.
template <typename Dense, int kRows, int kVectors, int kChains>
[[gnu::always_inline]] inline void dense_steps_apart(const TileBlock& block,
                                                     DenseSums<Dense, kRows, kVectors>& sum) {
  const std::int64_t chunks = block.steps / kChunkDwords / kChains;
  const std::int64_t w_bytes = chunks * kChunkDwords * Dense::kStepBytes;  // of one chain
  DenseChains<Dense, kRows, kVectors, kChains> other;
  start_chains<Dense, kRows, kVectors, kChains>(other);
  TileBlock rest = block;
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    for (int k = 0; k < kChunkDwords; ++k) {
#pragma GCC unroll 4
      for (int chain = 0; chain < kChains; ++chain) {
        TileBlock part = rest;
        part.a += chain * chunks * block.a_chunk_bytes + std::int64_t{k} * 4;
        dense_step<Dense, kRows, kVectors>(
            RowPointers<Dense, kRows>(part),
            part.w + chain * w_bytes + std::int64_t{k} * Dense::kStepBytes,
            chain == 0 ? sum : other[chain]);
      }
    }
    rest.a += block.a_chunk_bytes;
    rest.w += std::int64_t{kChunkDwords} * Dense::kStepBytes;
  }
  join_chains<Dense, kRows, kVectors, kChains>(other, sum);
  rest.a = block.a + kChains * chunks * block.a_chunk_bytes;
  rest.w = block.w + kChains * w_bytes;
  rest.steps = block.steps - kChains * chunks * kChunkDwords;
  dense_steps<Dense, kRows, kVectors, 0, 1>(rest, sum);
}

/// Rows of y from complete sums: of a whole panel, or of the columns that exist.
template <typename Dense, int kRows, int kVectors, bool kRelu>
[[gnu::always_inline]] inline void dense_finish(const Epilogue& e, const TileRect& rect,
                                                const DenseSums<Dense, kRows, kVectors>& sum) {
  using Vector = typename Dense::Vector;
  constexpr int kLast = kVectors - 1;
  constexpr bool kWholePanel = kVectors * Vector::kLanes == Dense::kColumns;
  const typename Dense::Finish finish[2] = {{e, rect.column},
                                            {e, rect.column + kLast * Vector::kLanes}};
  const auto lanes = Vector::first_lanes(rect.columns);
  const std::int64_t N = e.y.shape[1];
  float* y = e.y.template as<float>() + rect.row * N + rect.column;
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i, y += N) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      typename Vector::Float value = finish[v](e, rect.row + i, sum[i][v]);
      if constexpr (kRelu) value = Vector::relu(value);
      if constexpr (kWholePanel) {
        Vector::store_any(y + v * Vector::kLanes, value);
      } else {
        Vector::store_some(y, lanes, value);
      }
    }
  }
}

template <typename Dense, int kRows, int kVectors, int kLines>
void dense_tile(const TileBlock& block) {
  constexpr int kChains = Dense::chains(kRows);
  constexpr int kBytes = sizeof(typename Dense::Reg);
  constexpr int kRowBytes = Dense::kColumns * 4;
  auto* c = static_cast<std::byte*>(block.c);
  DenseSums<Dense, kRows, kVectors> sum;
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = block.accumulate ? Dense::load(c + i * kRowBytes + v * kBytes) : Dense::zero();
    }
  }
  if constexpr (Dense::kChainsApart && kChains > 1) {
    dense_steps_apart<Dense, kRows, kVectors, kChains>(block, sum);
  } else {
    dense_steps<Dense, kRows, kVectors, kLines, kChains>(block, sum);
  }
  if (block.epilogue != nullptr) {
    if (block.epilogue->activation == Activation::kRelu) {
      dense_finish<Dense, kRows, kVectors, true>(*block.epilogue, block.rect, sum);
    } else {
      dense_finish<Dense, kRows, kVectors, false>(*block.epilogue, block.rect, sum);
    }
    return;
  }
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      Dense::Vector::store(c + i * kRowBytes + v * kBytes, sum[i][v]);
    }
  }
}

template <typename Dense, int kVectors, int kLines, int... kRowsLessOne>
const FusedTileFunction* dense_tiles(std::integer_sequence<int, kRowsLessOne...> /*rows*/) {
  static constexpr FusedTileFunction kTiles[] = {
      nullptr, &dense_tile<Dense, kRowsLessOne + 1, kVectors, kLines>...};
  return kTiles;
}

}  // namespace pareto
