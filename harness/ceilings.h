// What this machine can do at best, measured here and now: operations per second of each unit and
// bytes per second of each level, per thread count. Every result is held against these.
//
// Names (those that the machine lacks are absent):
//   scalar_fp32      SSE2 multiplies and adds: what portable code can reach
//   fma_fp32         widest FMA of this machine; fma_fp32_avx2 with 256 bits
//   vnni_int8        widest VPDPBUSD; avx2_int8 by VPMADDUBSW + VPMADDWD + VPADDD
//   avx2_int4        VPMADDUBSW + VPADDW: products so small that many of them fit 16 bits
//   dot_bf16         VDPBF16PS with 512 bits
//   amx_int8 amx_bf16, and amx_int8_l1 amx_bf16_l1 with two tile loads from L1 per two products
//   read_l1 read_l2 read_l3 read_dram, and each with _8streams: eight addresses at once
//   copy_dram        non-temporal stores; bytes read plus bytes written
//   cuda_read_dram cuda_read_l2 cuda_copy_dram     memory of the GPU; these have no thread count
//   cuda_fma_fp32    FMA of the GPU outside its tensor cores
//   cuda_tensor_tf32 _bf16 _fp16 _int8 _fp8        tensor cores, through cuBLASLt
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pareto {

struct Ceiling {
  double rate = 0;  ///< operations or bytes per second, all threads; a multiply-add is two
  double instructions_per_clock = std::numeric_limits<double>::quiet_NaN();  ///< of one core
};

/// One call to be held against the ceilings.
struct RooflineQuery {
  std::string_view unit = {};  ///< name of a compute ceiling
  int threads = 1;
  double flops = 0;
  double bytes = 0;          ///< that the call must move
  bool warm = false;         ///< operands may still be in a cache
  double operand_bytes = 0;  ///< what has to fit into that cache; 0: `bytes`
  [[nodiscard]] double footprint() const { return operand_bytes > 0 ? operand_bytes : bytes; }
};

class Ceilings {
 public:
  void set(std::string_view name, int threads, const Ceiling& ceiling);
  /// Of every ceiling the higher one.
  void keep_best(const Ceilings& other);
  /// Numbers of threads whose scalar multiplications fall far short of as many times those of one
  /// thread: threads that share cores, as those of a virtual machine may for a while although it
  /// shows a core to each, or that a container limits. Empty where one thread was not measured.
  [[nodiscard]] std::vector<int> crowded() const;
  /// Rate; NaN if the unit is not known here. A thread count between two measured ones is
  /// interpolated; beyond the largest, that one counts.
  [[nodiscard]] double get(std::string_view name, int threads) const;
  /// Bytes per second of "l1", "l2", "l3" or "dram", by one stream or eight, whichever is more.
  [[nodiscard]] double bandwidth(std::string_view level, int threads) const;
  /// Shortest time that the ceilings allow: the larger of operations over the unit's rate and bytes
  /// over the bandwidth of the level that a warm call's operands fit (cold: DRAM). Warm operands
  /// that fit no level may still find as much of themselves in the last one as that holds. NaN if
  /// the unit is not known.
  [[nodiscard]] double attainable_s(const RooflineQuery& query) const;
  /// Name of the level that `attainable_s` uses: "l1", "l2", "l3" or "dram"; of a GPU's unit "l2"
  /// or "dram" of the GPU.
  [[nodiscard]] std::string level_of(const RooflineQuery& query) const;

  [[nodiscard]] bool empty() const { return by_name_.empty(); }
  /// By name, then by threads.
  [[nodiscard]] const std::map<std::string, std::map<int, Ceiling>, std::less<>>& all() const {
    return by_name_;
  }
  [[nodiscard]] nlohmann::json to_json() const;
  /// InputError if `json` is not what to_json makes.
  static Ceilings from_json(const nlohmann::json& json);

 private:
  [[nodiscard]] double memory_s(const RooflineQuery& query) const;
  std::map<std::string, std::map<int, Ceiling>, std::less<>> by_name_;
};

/// What a user has to know about a crowded thread count.
std::string crowding_note(int threads);

/// 1, 2, 4, … and the number of cores: the thread counts that are measured by default.
std::vector<int> default_thread_counts();

/// Names that can be measured on this machine.
std::vector<std::string> measurable_ceilings();

/// Measures everything for the default thread counts: at most 10 s (quick: 2 s), and as long again
/// for a GPU. The best of a few repeats, since whatever else runs here can only slow a probe down;
/// up to 5 s more while thread counts are crowded. Pins the calling thread meanwhile. The result
/// goes to the cache, too.
Ceilings measure_ceilings(bool quick);
/// Only these names and thread counts, within about `budget_s`; the cache is left alone.
Ceilings measure_ceilings(std::span<const std::string> names, std::span<const int> thread_counts,
                          double budget_s);

/// The last measurement on this machine, for estimates alone; empty without one. Read once; kept in
/// $PARETO_CACHE_DIR, else $XDG_CACHE_HOME/pareto, else ~/.cache/pareto.
const Ceilings& cached_ceilings();
std::string ceilings_cache_path();
/// What such a file holds; empty if it is missing or damaged.
Ceilings load_ceilings(const std::string& path);
/// Replaces what is cached. A convenience for estimates: a full or read-only disk is not an error.
void cache_ceilings(const Ceilings& ceilings);

/// Effective frequency of the calling thread's core, from a chain of dependent multiplications
/// (3 cycles each on every x86-64 CPU since 2008). The best of three
/// readings, 40 µs in all.
double core_clock_hz();

}  // namespace pareto
