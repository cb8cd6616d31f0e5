#include "harness/shard.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>

#include "harness/errors.h"

namespace pareto {
namespace {

// Task number and count as schedulers export them; the first that is set wins.
struct SchedulerVariables {
  const char* name;
  const char* rank;
  const char* first;  ///< variable with the first rank; null: ranks start at 0
  const char* step;   ///< variable with the distance of ranks; null: 1
  const char* count;
};
constexpr SchedulerVariables kSchedulers[] = {
    {"Slurm array", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP",
     "SLURM_ARRAY_TASK_COUNT"},
    {"Slurm step", "SLURM_PROCID", nullptr, nullptr, "SLURM_NTASKS"},
    {"Open MPI", "OMPI_COMM_WORLD_RANK", nullptr, nullptr, "OMPI_COMM_WORLD_SIZE"},
    {"PMI", "PMI_RANK", nullptr, nullptr, "PMI_SIZE"},
};

int integer_of(std::string_view text, int otherwise) {
  int value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() && result.ptr == text.data() + text.size() ? value : otherwise;
}

int environment_integer(const char* name, int otherwise) {
  const char* text = name == nullptr ? nullptr : std::getenv(name);
  return text == nullptr ? otherwise : integer_of(text, otherwise);
}

}  // namespace

std::string parse_shard(const std::string& text, PlanOptions& options) {
  std::string asked;
  if (text == "auto") {
    for (const SchedulerVariables& scheduler : kSchedulers) {
      const int rank = environment_integer(scheduler.rank, -1);
      const int count = environment_integer(scheduler.count, 0);
      if (rank < 0 || count < 1) continue;
      const int step = std::max(1, environment_integer(scheduler.step, 1));
      const int beyond = rank - environment_integer(scheduler.first, 0);
      if (beyond % step != 0) {
        throw InputError(fmt::format("--shard auto: {}={} is no multiple of {}={} from {}",
                                     scheduler.rank, rank, scheduler.step, step, scheduler.first));
      }
      options.shard = beyond / step + 1;
      options.shards = count;
      asked = scheduler.name;
      break;
    }
  } else {
    const std::size_t slash = text.find('/');
    options.shard = integer_of(std::string_view(text).substr(0, slash), 0);
    options.shards =
        slash == std::string::npos ? 0 : integer_of(std::string_view(text).substr(slash + 1), 0);
  }
  if (options.shards < 1 || options.shard < 1 || options.shard > options.shards) {
    throw InputError(fmt::format("--shard '{}': I/N with I from 1 to N, or auto", text));
  }
  return asked;
}

}  // namespace pareto
